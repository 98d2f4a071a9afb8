"""psic evaluate -o report/: a folder with a page and its figures, and nothing lost that was there."""

import json

import pytest

from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import psic, psic_process
from tests.evaluation.conftest import ColourModel
from tests.pages.reading import read

HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture
def album(folder):
    """Two pictures in the folder "album", one with a name that attacks the page."""
    (folder / "album").mkdir()
    for number, name in enumerate(("a.png", HOSTILE)):
        (folder / "album" / name).write_bytes(picture_bytes(number))
    return folder / "album"


def test_a_process_writes_a_page_and_its_figures(album):
    words = "evaluate album -q 20,80 -m tiny --effort 0 -o report/"
    done = psic_process(*words.split(), cwd=album.parent)
    assert done.code == ExitCode.OK, done.stderr
    report = album.parent / "report"
    assert {path.name for path in report.iterdir()} == {"index.html", "results.json"}
    assert json.loads((report / "results.json").read_text())["rate_distortion"]["summaries"][0]["quality"] == 20
    html = read((report / "index.html").read_bytes())
    assert len(html.all("figure")) == 2
    assert not html.all("img", src="x")
    assert f"psic {words}" in " ".join(html.words.split())


@pytest.mark.parametrize("count", [0, 1])
def test_the_number_of_pictures_is_chosen(album, count):
    done = psic("evaluate", "album", "-q", "50", "-m", "tiny", "-o", "report", "--pictures", str(count))
    assert done.code == ExitCode.OK, done.stderr
    assert len(read((album.parent / "report" / "index.html").read_bytes()).all("figure")) == count


def test_labelled_pictures_are_shown_where_there_are_no_others(album, monkeypatch):
    monkeypatch.setattr("psic_cli.vlp.interface.load_vlp", lambda spec, device="cpu": ColourModel())
    (album / "labels.csv").write_text("image,class_index\na.png,0\n")
    (album / "classes.txt").write_text("red\nblue\n")
    done = psic("evaluate", "--labels", "album/labels.csv", "--vlp", "x", "-q", "50", "-m", "tiny", "-o", "report")
    assert done.code == ExitCode.OK, done.stderr
    html = read((album.parent / "report" / "index.html").read_bytes())
    assert {section.attributes["id"] for section in html.all("section")} >= {"readability", "pictures"}
    assert len(html.all("figure")) == 1


def test_a_report_is_replaced_with_force_alone(album):
    report = album.parent / "report"
    report.mkdir()
    (report / "mine.txt").write_text("mine")
    (report / "index.html").write_text("old")
    arguments = ["evaluate", "album", "-q", "50", "-m", "tiny", "-o", "report"]
    done = psic(*arguments)
    assert done.code == ExitCode.OUTPUT
    assert "report/index.html exists" in done.errors[0]
    assert {path.name for path in report.iterdir()} == {"mine.txt", "index.html"}
    assert psic(*arguments, "--force").code == ExitCode.OK
    assert (report / "mine.txt").read_text() == "mine"
    assert read((report / "index.html").read_bytes()).all("figure")


def test_a_picture_that_cannot_be_read_is_left_out_of_the_report_too(album):
    (album / "broken.png").write_bytes(picture_bytes()[:60])
    done = psic("evaluate", "album", "-q", "50", "-m", "tiny", "-o", "report")
    assert done.code == ExitCode.PARTIAL
    assert len(done.errors) == 1
    html = read((album.parent / "report" / "index.html").read_bytes())
    assert len(html.all("figure")) == 2
    assert "broken.png" in html.words


def test_what_is_finished_is_kept_when_a_later_part_fails(album, monkeypatch):
    monkeypatch.setattr("psic_cli.vlp.interface.load_vlp", lambda spec, device="cpu": ColourModel())
    (album / "broken.png").write_bytes(picture_bytes()[:60])
    (album / "labels.csv").write_text("image,class_index\nbroken.png,0\n")
    (album / "classes.txt").write_text("red\nblue\n")
    labels = ["--labels", "album/labels.csv", "--vlp", "x"]
    done = psic("evaluate", "album", *labels, "-q", "50", "-m", "tiny", "-o", "report")
    assert done.code == ExitCode.INPUT
    html = read((album.parent / "report" / "index.html").read_bytes())
    assert {section.attributes["id"] for section in html.all("section")} == {"rates", "limits", "method"}
