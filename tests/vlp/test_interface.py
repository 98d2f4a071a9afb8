"""How a vision-language model is named, and what a name that means none gives."""

import importlib.util

import pytest

from psic_cli.errors import ModelError
from psic_cli.vlp.interface import load_vlp


@pytest.mark.parametrize("spec", ["", "witness", "witness:", "clip:x", "/a/path"])
def test_an_unknown_kind_is_an_error_that_says_what_is_known(spec):
    with pytest.raises(ModelError, match="unknown vision-language model") as caught:
        load_vlp(spec)
    assert "witness:PATH" in str(caught.value.hint)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="witnesses need timm")
@pytest.mark.parametrize("content", [None, b"", b"\xff" * 50], ids=["missing", "empty", "noise"])
def test_a_file_that_is_no_witness_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "witness-x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"witness-x\.safetensors: not a witness file"):
        load_vlp(f"witness:{path}")
