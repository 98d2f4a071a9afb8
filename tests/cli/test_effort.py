"""psic encode --effort and --against, as a user types them."""

import json

import pytest
import torch

from psic_cli.shell.exit_codes import ExitCode
from tests.cli.run import psic, psic_process

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 4, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture
def clip(folder):
    """A small model of open_clip with random weights, in a folder of its own, as people save theirs."""
    open_clip = pytest.importorskip("open_clip")
    from safetensors.torch import save_file

    place = folder / "clip"
    place.mkdir()
    (folder / "psic-little-clip.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(folder / "psic-little-clip.json")
    torch.manual_seed(0)
    save_file(open_clip.create_model("psic-little-clip").state_dict(), place / "weights.safetensors")
    return f"open_clip:psic-little-clip:{place / 'weights.safetensors'}"


def test_a_photo_is_protected_against_a_model_of_ones_own(photo, clip, folder):
    plain = psic("encode", photo, "--open", "--strength", "0", "-o", "plain.psic", "-m", "tiny")
    done = psic("encode", photo, "--open", "--against", clip, "-o", "own.psic", "-m", "tiny")
    assert (plain.code, done.code) == (ExitCode.OK, ExitCode.OK), done.stderr
    assert (folder / "own.psic").read_bytes() != (folder / "plain.psic").read_bytes()


def test_a_model_may_stand_beside_the_usual_ones(photo, clip, folder):
    done = psic("encode", photo, "--open", "--against", f"+{clip}", "-o", "both.psic", "-m", "tiny", "--effort", "2")
    assert done.code == ExitCode.OK, done.stderr


@pytest.mark.parametrize("spec", ["clip", "witness:nobody", "witness:none.safetensors", "open_clip:no-such-model:x"])
def test_a_model_that_cannot_be_had_is_one_line_and_nothing_is_written(photo, folder, spec):
    done = psic("encode", photo, "--open", "--against", spec, "-m", "tiny")
    assert done.code == ExitCode.MODEL
    assert len(done.errors) == 1
    assert not (folder / "photo.psic").exists()


def test_a_shield_of_no_strength_is_against_nobody(photo):
    done = psic("encode", photo, "--open", "--strength", "0", "--against", "witness:lite0", "-m", "tiny")
    assert done.code == ExitCode.USAGE
    assert len(done.errors) == 1


@pytest.mark.parametrize("effort", ["-1", "10", "most"])
def test_efforts_go_from_0_to_9(photo, effort):
    assert psic("encode", photo, "--open", "--effort", effort, "-m", "tiny").code == ExitCode.USAGE


def test_two_processes_give_equal_bytes(photo, folder):
    for name in ("one.psic", "two.psic"):
        done = psic_process("encode", photo, "--open", "--effort", "1", "-o", name, "-m", "tiny", cwd=folder)
        assert done.code == ExitCode.OK, done.stderr
    assert (folder / "one.psic").read_bytes() == (folder / "two.psic").read_bytes()


def test_a_report_tells_the_effort(photo, folder):
    psic("encode", photo, "--open", "--effort", "3", "--report", "report.jsonl", "-m", "tiny")
    assert json.loads((folder / "report.jsonl").read_text())["effort"] == 3
