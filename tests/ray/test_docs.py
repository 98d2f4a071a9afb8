"""docs/ray.md says what is so."""

import textwrap

import pytest

from tests.cli.run import ROOT


def test_ray_takes_the_cluster_file_of_the_docs():
    util = pytest.importorskip("ray.autoscaler._private.util")
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "docs" / "ray.md").read_text("utf-8")
    start, end = text.index("    cluster_name:"), text.index("    ray up cluster.yaml\n    ray submit")
    file = yaml.safe_load(textwrap.dedent(text[start:end]))
    util.validate_config(util.prepare_config(file))
    with pytest.raises(Exception, match="is a required property"):
        util.validate_config(util.prepare_config(file | {"available_node_types": {"head": {"max_workers": 1}}}))
