"""psic evaluate as a user runs it: what it prints where, what it writes, and its exit codes."""

import json
import signal
import subprocess
import time

import pytest
import torch

from psic_cli.search.effort import DEFAULT_EFFORT
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import child_environment, command, psic, psic_process
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
    words = ["evaluate", "album", "-q", "20,80", "-m", "tiny", "--effort", "0", "-o", "out.json"]
    done = psic_process(*words, cwd=album.parent)
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
    assert len(data["about"]["weights_sha256"]) == 64
    assert data["about"]["packages"]["torch"]
    assert data["about"]["command"].startswith("psic evaluate album ")
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
    (album / "kinds.txt").write_text("green: red\nblue: 1\n")
    options = ["--labels", "album/labels.csv", "--captions", "album/captions.jsonl", "--vlp", "colours"]
    options += ["--kinds", "album/kinds.txt"]
    done = psic("evaluate", *options, "-q", "30", "-m", "tiny", "--json")
    assert done.code == ExitCode.OK, done.stderr
    data = json.loads(done)
    assert data["about"]["vlps"] == [{"name": "colours", "spec": "colours", "sha256": None}]
    versions = ["original", "protected", "full", "machine", "keyless"]
    assert [row["version"] for row in data["classification"]["zero_shot"]] == versions
    assert [row["version"] for row in data["classification"]["kinds"]["zero_shot"]] == versions
    assert data["classification"]["kinds"]["chance"] == 0.5
    assert [row["version"] for row in data["retrieval"]["retrieval"]] == versions
    assert data["rate_distortion"] is None


def test_files_are_made_with_the_effort_asked_for(album):
    options = ["album", "-q", "60", "-m", "tiny", "--json"]
    found = [json.loads(psic("evaluate", *options, *more)) for more in ([], ["--effort", "0"])]
    assert [data["about"]["effort"] for data in found] == [DEFAULT_EFFORT, 0]
    usual, least = (data["rate_distortion"]["summaries"][0]["psnr"]["protected"]["value"] for data in found)
    assert usual != least


def test_files_without_a_shield_are_measured_as_such(album):
    options = ["album", "-q", "60", "-m", "tiny", "--json"]
    whole, none = (json.loads(psic("evaluate", *options, *more)) for more in ([], ["--strength", "0"]))
    assert [data["about"]["strength"] for data in (whole, none)] == [100, 0]
    rows = [data["rate_distortion"]["summaries"][0] for data in (whole, none)]
    full, protected = ([row["psnr"][version]["value"] for row in rows] for version in ("full", "protected"))
    assert full[0] == pytest.approx(full[1], abs=0.05)  # rounded around other predictions
    assert protected[0] < protected[1]


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
        (["album", "--vlp", "witness:x"], ExitCode.USAGE, "--vlp needs --labels, --captions or --agreement"),
        (
            ["--labels", "l.csv", "--unseen", "timm:x", "--kinds", "imagenet"],
            ExitCode.USAGE,
            "--kinds needs --labels and --vlp",
        ),
        (["--labels", "good.csv", "--vlp", "x", "--kinds", "none.txt"], ExitCode.INPUT, "cannot read none.txt"),
        (["album", "--unseen", "timm:x"], ExitCode.USAGE, "--unseen needs --labels or --agreement"),
        (["--labels", "labels.csv"], ExitCode.USAGE, "--labels and --agreement need --vlp or --unseen"),
        (["--captions", "c.jsonl", "--unseen", "timm:x"], ExitCode.USAGE, "--captions needs --vlp"),
        (["album", "--attacks", "blur"], ExitCode.USAGE, "--attacks needs --labels or --captions"),
        (["--captions", "good.jsonl", "--vlp", "x", "--attacks", "fog"], ExitCode.USAGE, "unknown attack 'fog'"),
        (["--agreement", "album", "--vlp", "x", "--sides", "big"], ExitCode.USAGE, "--sides 'big' is not a list"),
        (["--agreement", "empty", "--vlp", "x"], ExitCode.INPUT, "there are no pictures in empty"),
        (["--agreement", "album", "--unseen", "resnet50"], ExitCode.MODEL, "unknown classifier 'resnet50'"),
        (["--agreement", "album", "--unseen", "timm:no"], ExitCode.MODEL, "timm has no model 'no'"),
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
    (root / "good.csv").write_text("image,class_index\nalbum/0.png,0\n")
    model = [] if "-m" in arguments else ["-m", "tiny"]
    done = psic("evaluate", *arguments, *model)
    assert done.code == code
    assert len(done.errors) == 1
    assert words in done.errors[0]
    assert done == b""


def test_attacks_agreement_and_unseen_classifiers_are_measured(album, vlp, tmp_path):
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("mobilenetv3_small_050", num_classes=2).state_dict(), "two.pth")
    (album / "labels.csv").write_text("image,class_index\n0.png,0\n1.png,1\n")
    (album / "classes.txt").write_text("red\nblue\n")
    options = ["--labels", "album/labels.csv", "--unseen", "timm:mobilenetv3_small_050:two.pth", "--vlp", "x"]
    done = psic("evaluate", *options, "--attacks", "blur", "-q", "30", "-m", "tiny", "--json")
    assert done.code == ExitCode.OK, done.stderr
    data = json.loads(done)
    assert list(data["attacks"]["attacks"]) == ["none", "blur"]
    models = ["colours", "timm:mobilenetv3_small_050:two"]
    assert [row["model"] for row in data["attacks"]["outcomes"]] == [model for model in models for _ in range(2)]
    assert {row["model"] for row in data["classification"]["unseen"]} == {models[1]}
    assert [row["model"] for row in data["classification"]["machine"]] == models
    assert len(data["about"]["unseen"][0]["sha256"]) == 64

    unlabelled = ["--agreement", "album", "--sides", "16,full", "--unseen", "timm:mobilenetv3_small_050:two.pth"]
    done = psic("evaluate", *unlabelled, "-q", "30", "-m", "tiny", "--json")
    assert done.code == ExitCode.OK, done.stderr
    rows = json.loads(done)["agreement"]
    assert [(row["side"], row["version"]) for row in rows if row["version"] == "full"] == [(16, "full"), (None, "full")]


def test_a_second_run_takes_finished_pictures_from_the_cache_and_gives_the_same(album, monkeypatch):
    command = ("evaluate", "album", "-q", "20,80", "-m", "tiny", "--cache", "kept", "--json")
    first = psic(*command)
    assert first.code == ExitCode.OK, first.stderr
    monkeypatch.setattr("psic_cli.evaluation.rate_distortion.code", None)
    second = psic(*command)
    assert second.code == ExitCode.OK, second.stderr
    assert json.loads(second)["rate_distortion"] == json.loads(first)["rate_distortion"]


def test_a_stopped_run_goes_on_where_it_was(album, monkeypatch):
    from psic_cli.evaluation.coding import code

    calls = []

    def until_stopped(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return code(*arguments)

    monkeypatch.setattr("psic_cli.evaluation.rate_distortion.code", until_stopped)
    monkeypatch.setattr("psic_cli.shell.streams._stopped", False)  # as in a new process, and put back afterwards
    command = ("evaluate", "album", "-q", "20,80", "-m", "tiny", "-o", "out.json")
    done = psic(*command)
    assert done.code == ExitCode.INTERRUPTED
    assert "is kept in out.json.cache: the same command goes on from there" in done.stderr
    assert not (album.parent / "out.json").exists()

    monkeypatch.setattr("psic_cli.shell.streams._stopped", False)
    done = psic(*command)
    assert done.code == ExitCode.OK, done.stderr
    assert len(calls) == 3 + 2  # two of the four were kept
    assert len(json.loads((album.parent / "out.json").read_text())["rate_distortion"]["pictures"]) == 4
    assert not (album.parent / "out.json.cache").exists()


def test_what_a_stop_loses_is_said(album, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("psic_cli.evaluation.rate_distortion.code", stop)
    monkeypatch.setattr("psic_cli.shell.streams._stopped", False)
    done = psic("evaluate", "album", "-q", "20", "-m", "tiny")
    assert done.code == ExitCode.INTERRUPTED
    assert "psic: nothing is kept of this run" in done.stderr


def test_a_signal_to_end_keeps_what_is_finished(album):
    """In a process of its own: SIGTERM as soon as the first picture is kept."""
    for number in range(2, 40):
        (album / f"{number}.png").write_bytes(picture_bytes(number, width=160, height=160))
    words = command("evaluate", "album", "-q", "10,30,50,70,90", "-m", "tiny", "--effort", "0", "-o", "out.json")
    with subprocess.Popen(words, cwd=album.parent, env=child_environment(), stderr=subprocess.PIPE, text=True) as child:
        kept = album.parent / "out.json.cache"
        while child.poll() is None and not list(kept.glob("??/*.psic-result")):
            time.sleep(0.05)
        child.terminate()
        _, said = child.communicate(timeout=120)
    if child.returncode == 0:
        pytest.skip("finished before the signal came")
    assert child.returncode == 128 + signal.SIGTERM
    assert "is kept in out.json.cache" in said
    assert list(kept.glob("??/*.psic-result"))
