"""What adapted networks predict does not depend on the machine: threads, instruction sets, kernel libraries, float
types, GPU. Each case is one process.
"""

import pytest
import torch

from psic_cli.backbones.architectures import NAMES
from psic_cli.benchmark.symbols import SETTINGS
from tests.backbones import made
from tests.backbones.exact_process import CARRIERS, all_predictions
from tests.cli.run import psic
from tests.test_exactness import HERE, asked_for, found_in_a_process


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model of each architecture, and what this process finds that it predicts."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PSIC_MODELS", str(folder))
        for name in NAMES:
            path = made.save_state(made.state_of(name))
            assert psic("models", "add", f"compressai:{name}", path, "--name", name).code == 0
        return folder, all_predictions("cpu")


def in_a_process(folder, *arguments, **variables):
    module = "tests.backbones.exact_process"
    return found_in_a_process(module, *arguments, PSIC_MODELS=str(folder), **variables)


def test_both_float_types_predict_the_same(models):
    _, found = models
    assert len(found) == len(NAMES) * len(CARRIERS)
    for name in NAMES:
        assert len({found[f"{name} {integers}"] for integers in CARRIERS}) == 1
    assert len(set(found.values())) == len(NAMES)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_of_a_processor_predicts_the_same(setting, models):
    asked = asked_for(setting)
    folder, expected = models
    found = in_a_process(folder, *asked.arguments(), **asked.variables())
    assert found["threads"] == asked.threads
    assert found["capability"] == (asked.capability.upper() if asked.capability else HERE)
    assert found["predictions"] == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_predicts_the_same(models):
    folder, expected = models
    assert in_a_process(folder, "--device", "cuda")["predictions"] == expected
