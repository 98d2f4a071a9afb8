"""Names, overwriting and batches: what is written where, and what is never touched."""

import json
import os
import stat
from pathlib import Path

import pytest

from psic_cli.search.effort import DEFAULT_EFFORT
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import encoded, picture_bytes
from tests.cli.run import psic

ENCODE = ("encode", "-m", "tiny", "--open")


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def album(folder: Path) -> Path:
    """Pictures at two levels, with what a folder also holds."""
    for name in ("album/x.jpg", "album/sub/y.PNG", "album/sub/deep/z.webp", "album/.hidden.png", "album/.git/w.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_bytes(kind={".jpg": "JPEG", ".webp": "WEBP"}.get(path.suffix, "PNG")))
    (folder / "album/notes.txt").write_text("not a picture")
    return folder / "album"


def test_derived_names_lie_beside_the_input(folder, photo, album):
    assert psic(*ENCODE, "photo.png", "album/x.jpg").code == 0
    assert {"photo.psic", "album/x.psic"} <= set(tree(folder))
    photo.unlink()
    assert psic("decode", "photo.psic", "album/x.psic", "--format", "jpg", "--force").code == 0
    assert {"photo.jpg", "album/x.jpg"} <= set(tree(folder))


def test_an_output_folder_is_made_and_keeps_the_tree_below_each_given_folder(folder, photo, album):
    assert psic(*ENCODE, "-r", "photo.png", "album", "-o", "out").code == 0
    assert tree(folder / "out") == ["photo.psic", "sub/deep/z.psic", "sub/y.psic", "x.psic"]
    assert psic("decode", "-r", "out", "-o", "back/").code == 0
    assert tree(folder / "back") == ["photo.png", "sub/deep/z.png", "sub/y.png", "x.png"]


def test_a_folder_is_taken_only_if_asked(folder, album):
    result = psic(*ENCODE, "album", "-o", "out")
    assert result.code == ExitCode.USAGE
    assert "add -r" in result.stderr
    assert not (folder / "out").exists()


def test_a_folder_lists_what_it_leaves_out_when_asked(album):
    assert "album/notes.txt is left out" in psic(*ENCODE, "-r", "-v", "album").stderr
    assert "notes" not in psic(*ENCODE, "-r", "--force", "album").stderr


def test_a_folder_without_pictures_is_an_input_error(folder):
    (folder / "empty").mkdir()
    result = psic(*ENCODE, "-r", "empty")
    assert result.code == ExitCode.INPUT
    assert "no pictures in empty" in result.errors[0]


def test_the_same_file_twice_is_one_picture(folder, photo):
    result = psic(*ENCODE, "photo.png", "./photo.png", photo, "-o", "out")
    assert result.code == 0
    assert result.stderr.count(" -> out") == 1


def test_several_inputs_need_a_folder(folder, photo, album):
    (folder / "file").write_bytes(b"keep")
    assert psic(*ENCODE, "photo.png", "album/x.jpg", "-o", "file", "--force").code == ExitCode.USAGE
    assert psic(*ENCODE, "photo.png", "album/x.jpg", "-o", "-").code == ExitCode.USAGE
    assert (folder / "file").read_bytes() == b"keep"


def test_an_existing_file_is_replaced_only_if_forced_and_keeps_its_permissions(folder, photo):
    output = folder / "photo.psic"
    output.write_bytes(b"old")
    output.chmod(0o640)
    assert psic(*ENCODE, "photo.png").code == ExitCode.OUTPUT
    assert output.read_bytes() == b"old"
    assert psic(*ENCODE, "photo.png", "-f").code == 0
    assert output.read_bytes() != b"old"
    assert stat.S_IMODE(output.stat().st_mode) == 0o640


def test_an_input_is_never_replaced_not_even_by_force(folder, photo, sealed, key):
    (folder / "link.psic").symlink_to("photo.png")
    os.link("photo.png", "hard.psic")
    (folder / "KEY.png").symlink_to("key.bin")
    for arguments in (
        [*ENCODE, "photo.png", "-o", "photo.png"],
        [*ENCODE, "photo.png", "-o", "./link.psic"],
        [*ENCODE, "photo.png", "-o", "hard.psic"],
        ["decode", "photo.psic", "-o", "photo.psic", "--format", "png"],
        ["decode", "--condition", "key.bin", "photo.psic", "-o", "KEY.png"],
        [*ENCODE, "photo.png", "--report", "photo.png"],
    ):
        before = {name: Path(name).read_bytes() for name in tree(folder)}
        result = psic(*arguments, "--force")
        assert result.code in (ExitCode.OUTPUT, ExitCode.USAGE), arguments
        assert {name: Path(name).read_bytes() for name in tree(folder)} == before


def test_a_picture_given_to_decode_is_told_what_decode_takes(folder, photo):
    result = psic("decode", "photo.png")
    assert result.code == ExitCode.OUTPUT
    assert "decode takes .psic files" in result.stderr


def test_a_forced_link_stays_a_link(folder, photo):
    (folder / "real.psic").write_bytes(b"old")
    (folder / "link.psic").symlink_to("real.psic")
    assert psic(*ENCODE, "photo.png", "-o", "link.psic").code == ExitCode.OUTPUT
    assert psic(*ENCODE, "photo.png", "-o", "link.psic", "--force").code == 0
    assert (folder / "link.psic").is_symlink()
    assert (folder / "real.psic").read_bytes() != b"old"


def test_a_missing_folder_of_a_named_output_is_an_error_not_a_guess(folder, photo):
    result = psic(*ENCODE, "photo.png", "-o", "no/such/x.psic")
    assert result.code == ExitCode.OUTPUT
    assert "there is no folder no/such" in result.errors[0]


def test_outputs_that_cannot_be_written(folder, photo):
    assert psic(*ENCODE, "photo.png", "-o", "photo.png/x.psic").code == ExitCode.OUTPUT
    (folder / "dir.psic").mkdir()
    (folder / "dir.png").write_bytes(photo.read_bytes())
    result = psic(*ENCODE, "dir.png")
    assert (result.code, result.errors) == (ExitCode.OUTPUT, ["psic: error: dir.psic is a folder"])


def test_skip_existing_leaves_what_is_there_and_does_the_rest(folder, photo, album):
    Path("photo.psic").write_bytes(b"mine")
    result = psic(*ENCODE, "--skip-existing", "photo.png", "album/x.jpg", "--report", "report.jsonl")
    assert result.code == 0
    assert Path("photo.psic").read_bytes() == b"mine"
    assert Path("album/x.psic").exists()
    assert "1 skipped" in result.stderr
    assert psic(*ENCODE, "--skip-existing", "photo.png", "album/x.jpg", "--report", "report.jsonl").code == 0
    statuses = [json.loads(line)["status"] for line in Path("report.jsonl").read_text().splitlines()]
    assert statuses == ["skipped", "done", "skipped", "skipped"], "the second run goes on with the report"


def test_results_do_not_depend_on_jobs_and_come_in_order(folder, png):
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        Path(name).write_bytes(picture_bytes(number, width=16 + 40 * (5 - number)))
    Path("2.png").write_bytes(b"broken")
    for jobs in ("1", "4"):
        result = psic(*ENCODE, *names, "-o", f"out{jobs}", "-j", jobs, "--report", f"{jobs}.jsonl")
        assert result.code == ExitCode.PARTIAL
        lines = result.stderr.splitlines()
        assert [line[:5] for line in lines if " -> out" in line] == ["0.png", "1.png", "3.png", "4.png", "5.png"]
        assert lines.index('psic: error: 2.png is not a picture psic can read (it starts with "brok")') == 2
    for name in tree(folder / "out1"):
        assert (folder / "out1" / name).read_bytes() == (folder / "out4" / name).read_bytes()
    reports = [[json.loads(line) for line in Path(f"{jobs}.jsonl").read_text().splitlines()] for jobs in "14"]
    for records in reports:
        for record in records:
            record.pop("seconds", None)
            record.pop("output")
    assert reports[0] == reports[1]


def test_the_report_has_a_line_for_every_picture(folder, photo):
    Path("broken.png").write_bytes(b"x")
    result = psic(*ENCODE, "photo.png", "broken.png", "--report", "report.jsonl")
    assert result.code == ExitCode.PARTIAL
    done, failed = (json.loads(line) for line in Path("report.jsonl").read_text().splitlines())
    size = Path("photo.psic").stat().st_size
    assert done.pop("seconds") >= 0
    assert done == {
        "input": "photo.png",
        "output": "photo.psic",
        "status": "done",
        "bytes_in": photo.stat().st_size,
        "bytes_out": size,
        "width": 40,
        "height": 24,
        "bpp": round(8 * size / 960, 6),
        "model": "tiny",
        "quality": 50,
        "sealed": False,
        "effort": DEFAULT_EFFORT,
    }
    assert failed["status"] == "failed"
    assert failed["exit_code"] == ExitCode.INPUT
    assert failed["error"].startswith("broken.png is not a picture")


def test_a_report_is_not_overwritten_and_may_go_to_standard_output(folder, photo):
    Path("report.jsonl").write_text("old\n")
    assert psic(*ENCODE, "photo.png", "--report", "report.jsonl").code == ExitCode.OUTPUT
    assert not Path("photo.psic").exists()
    result = psic(*ENCODE, "photo.png", "--report", "-")
    assert json.loads(result)["status"] == "done"
    assert psic(*ENCODE, "photo.png", "--force", "--report", "report.jsonl").code == 0
    assert json.loads(Path("report.jsonl").read_text())["status"] == "done"
    assert psic(*ENCODE, "photo.png", "-o", "-", "--report", "-").code == ExitCode.USAGE
    assert psic(*ENCODE, "photo.png", "--force", "--report", "photo.psic").code == ExitCode.OUTPUT


def test_names_with_spaces_dashes_accents_and_bytes_that_are_no_text(folder, png):
    names = ["a b.png", "-dash.png", "häßlich 画.png", "two\nlines.png", os.fsdecode(b"\xff\xfe.png")]
    for name in names:
        Path(name).write_bytes(png)
    result = psic(*ENCODE, "--report", "report.jsonl", "--", *names)
    assert result.code == 0
    assert sorted(path.name for path in folder.glob("*.psic")) == sorted(f"{name[:-4]}.psic" for name in names)
    assert '"a b.png" -> "a b.psic"' in result.stderr
    assert "two\\nlines.png" in result.stderr
    inputs = [json.loads(line)["input"] for line in Path("report.jsonl").read_text().splitlines()]
    assert inputs == names


def test_a_mistyped_decode_of_a_picture_and_encode_of_a_psic_file_say_what_to_do(folder, photo, sealed):
    result = psic("encode", "-m", "tiny", "photo.psic", "-o", "x.psic")
    assert result.errors == ["psic: error: photo.psic is already a .psic file"]
    assert "psic decode" in result.stderr
    result = psic("decode", "photo.png", "-o", "x.png")
    assert result.code == ExitCode.FORMAT
    assert "psic encode" in result.stderr


def test_one_failing_batch_task_leaves_no_empty_folders(folder):
    Path("bad").mkdir()
    Path("bad/x.png").write_bytes(b"broken")
    assert psic(*ENCODE, "-r", "bad", "-o", "out").code == ExitCode.PARTIAL
    assert not Path("out").exists()


def test_an_unknown_model_stops_a_batch_at_once(folder, photo, album):
    assert psic("encode", "-m", "none", "-r", "photo.png", "album").code == ExitCode.MODEL


def test_quiet_says_nothing_but_errors(folder, photo):
    result = psic(*ENCODE, "--quiet", "photo.png", "missing.png")
    assert result.code == ExitCode.PARTIAL
    assert result.stderr.splitlines() == [
        "psic: error: cannot read missing.png: no such file or directory",
        "psic: 1 of 2 pictures failed",
    ]


def test_verbose_shows_timings_wherever_it_is_typed(folder, photo):
    for arguments in (["-v", *ENCODE, "photo.png", "-f"], [*ENCODE, "photo.png", "-fv"]):
        lines = psic(*arguments).stderr.splitlines()
        assert [word for word in lines[1].split() if word.isalpha() and word != "s"] == ["read", "encode", "write"]
    assert len(psic(*ENCODE, "photo.png", "-f").stderr.splitlines()) == 1


def test_debug_shows_where_an_error_comes_from_wherever_it_is_typed(folder):
    Path("x.png").write_bytes(b"broken")
    for arguments in (["--debug", *ENCODE, "x.png"], [*ENCODE, "x.png", "--debug"]):
        result = psic(*arguments)
        assert result.code == ExitCode.INPUT
        assert "Traceback" in result.stderr
        assert len(result.errors) == 1


def test_a_file_decoded_from_the_frozen_name_of_a_model_that_is_gone(folder, png, monkeypatch, tmp_path):
    encoded(folder / "x.psic", png, None)
    monkeypatch.setenv("PSIC_MODELS", str(tmp_path / "nowhere"))
    result = psic("decode", "x.psic")
    assert result.code == ExitCode.MODEL
    assert "tiny" in result.errors[0]
