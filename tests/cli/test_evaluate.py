"""psic evaluate as a user runs it: what it prints where, what it writes, and its exit codes."""

import json

import pytest

from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import psic, psic_process
from tests.evaluation.conftest import ColourModel


@pytest.fixture
def album(folder):
    """Two pictures in the folder "album"."""
    (folder / "album").mkdir()
    for number in range(2):
        (folder / "album" / f"{number}.png").write_bytes(picture_bytes(number))
    return folder / "album"


@pytest.fixture
def vlp(monkeypatch):
    """A stand-in that --vlp gives, whatever its name."""
    monkeypatch.setattr("psic_cli.vlp.interface.load_vlp", lambda spec, device="cpu": ColourModel())


def test_a_process_prints_tables_for_people_and_json_for_machines(album):
    done = psic_process("evaluate", "album", "-q", "20,80", "-m", "tiny", "-o", "out.json", cwd=album.parent)
    assert done.code == ExitCode.OK, done.stderr
    assert done == b""
    assert "Rate and quality, 2 pictures" in done.stderr
    assert [
        row["quality"] for row in json.loads((album.parent / "out.json").read_text())["rate_distortion"]["summaries"]
    ] == [20, 80]


def test_json_goes_to_standard_output_and_holds_what_is_needed_to_repeat_it(album):
    done = psic("evaluate", "album", "-q", "80,20,20", "-m", "tiny", "--json", "--limit", "1")
    assert done.code == ExitCode.OK, done.stderr
    assert done.stderr == ""
    data = json.loads(done)
    assert data["about"]["model"] == "tiny"
    assert data["about"]["qualities"] == [20, 80]
    assert len(data["about"]["weights_hash"]) == 16
    assert {row["picture"] for row in data["rate_distortion"]["pictures"]} == {"0.png"}
    assert data["classification"] is data["retrieval"] is None


def test_peers_are_compared(album):
    pytest.importorskip("bjontegaard")
    done = psic("evaluate", "album", "-q", "10,90", "-m", "tiny", "--json", "--peers", "jpeg,webp")
    assert done.code == ExitCode.OK, done.stderr
    assert {row["peer"] for row in json.loads(done)["rate_distortion"]["peers"]} == {"jpeg", "webp"}


def test_a_picture_that_cannot_be_read_is_reported_and_skipped(album):
    (album / "broken.png").write_bytes(picture_bytes()[:60])
    done = psic("evaluate", "album", "-q", "50", "-m", "tiny", "--json")
    assert done.code == ExitCode.PARTIAL
    assert len(done.errors) == 1
    assert "broken.png" in done.errors[0]
    assert "psic: 1 of 3 pictures failed" in done.stderr
    assert len(json.loads(done)["rate_distortion"]["pictures"]) == 2
    assert len(json.loads(done)["failures"]) == 1


def test_labels_and_captions_are_measured_with_every_version(album, vlp):
    (album / "labels.csv").write_text("image,class_index\n0.png,0\n1.png,1\n")
    (album / "classes.txt").write_text("red\nblue\n")
    (album / "captions.jsonl").write_text(
        '{"split": "test", "image": "0.png", "captions": ["a red thing", "not blue"]}\n'
    )
    options = ["--labels", "album/labels.csv", "--captions", "album/captions.jsonl", "--vlp", "colours"]
    done = psic("evaluate", *options, "-q", "30", "-m", "tiny", "--json")
    assert done.code == ExitCode.OK, done.stderr
    data = json.loads(done)
    versions = ["original", "protected", "full", "machine", "forced"]
    assert [row["version"] for row in data["classification"]["zero_shot"]] == versions
    assert [row["version"] for row in data["retrieval"]["retrieval"]] == versions
    assert data["rate_distortion"] is None


def test_what_is_finished_is_kept_when_a_later_part_fails(album, vlp):
    (album / "broken.png").write_bytes(picture_bytes()[:60])
    (album / "labels.csv").write_text("image,class_index\nbroken.png,0\n")
    (album / "classes.txt").write_text("red\nblue\n")
    done = psic(
        "evaluate", "album", "--labels", "album/labels.csv", "--vlp", "x", "-q", "50", "-m", "tiny", "-o", "out.json"
    )
    assert done.code == ExitCode.INPUT
    assert "none of 1 pictures could be measured" in done.errors[-1]
    data = json.loads((album.parent / "out.json").read_text())
    assert data["rate_distortion"]["summaries"][0]["pictures"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], ExitCode.USAGE, "nothing to measure"),
        (["album", "-q", "0"], ExitCode.USAGE, "quality 0 is not within 1..100"),
        (["album", "-q", "high"], ExitCode.USAGE, "quality 'high' is not a list of numbers"),
        (["album", "--peers", "gif"], ExitCode.USAGE, "unknown peer 'gif'"),
        (["album", "--vlp", "witness:x"], ExitCode.USAGE, "--vlp needs one of them"),
        (["--labels", "labels.csv"], ExitCode.USAGE, "--labels and --captions need --vlp"),
        (["--labels", "l.csv", "--vlp", "x", "--peers", "jpeg"], ExitCode.USAGE, "--peers needs a folder"),
        (["missing"], ExitCode.INPUT, "there is no folder missing"),
        (["empty"], ExitCode.INPUT, "there are no pictures in empty"),
        (["--labels", "missing.csv", "--vlp", "x"], ExitCode.INPUT, "cannot read missing.csv"),
        (["--captions", "bad.jsonl", "--vlp", "x"], ExitCode.INPUT, "names 1 pictures that do not exist"),
        (["album", "-m", "unheard-of"], ExitCode.MODEL, "no model named unheard-of"),
        (["--captions", "good.jsonl", "--vlp", "clip"], ExitCode.MODEL, "unknown vision-language model 'clip'"),
        (["--captions", "good.jsonl", "--vlp", "witness:no"], ExitCode.MODEL, "no witness model named witness-no"),
        (["album", "-o", "there.json"], ExitCode.OUTPUT, "there.json exists"),
    ],
)
def test_wrong_arguments_are_one_clear_line(album, arguments, code, words):
    root = album.parent
    (root / "empty").mkdir()
    (root / "there.json").write_text("{}")
    for name, image in (("bad", "missing.png"), ("good", "album/0.png")):
        (root / f"{name}.jsonl").write_text(f'{{"split": "test", "image": "{image}", "captions": ["x"]}}\n')
    model = [] if "-m" in arguments else ["-m", "tiny"]
    done = psic("evaluate", *arguments, *model)
    assert done.code == code
    assert len(done.errors) == 1
    assert words in done.errors[0]
    assert done == b""
