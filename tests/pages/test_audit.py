"""The reports of psic audit: they show what was read and nothing else, load nothing, and believe no name."""

import io

import numpy as np
import pytest
from PIL import Image

from psic_cli.evaluation.audit import FULL, ORIGINAL, PROTECTED, Audited, audit, make_reader
from psic_cli.pages.audit import page
from psic_cli.pages.audit_parts import MAGNIFIED, difference, panel
from psic_cli.pages.audit_png import COLUMN, draw
from tests.evaluation.test_audit import LABELS, ScriptedModel, showing
from tests.pages.browser import browser
from tests.pages.conftest import HOSTILE
from tests.pages.reading import read

ABOUT = {
    "psic": "0.1.0",
    "torch": "2.15.0",
    "device": "cpu",
    "vlps": [{"spec": "scripted", "description": "A model made by hand.", "use": None, "use_note": None}],
}


def made(name="folder/photo.png", protected=9, versions=(ORIGINAL, PROTECTED, FULL), differences=True, captions=()):
    """One file of a report; it stands in a folder, which no report tells."""
    numbers = {ORIGINAL: 3, PROTECTED: protected, FULL: 3}
    pictures = {version: showing(numbers[version]) for version in versions}
    psnr = {PROTECTED: 31.2, FULL: 33.1} if ORIGINAL in versions else {}
    found = audit(pictures, make_reader(ScriptedModel(), LABELS, captions), trained_against=False)
    return panel(Audited(name, 6, 4, "tiny", "ab" * 8, 50, 0.5, psnr, (found,)), pictures, differences)


def test_the_versions_stand_side_by_side_with_bars_for_each():
    html = read(page([made(captions=["caption 3"])], ABOUT))
    columns = [card for card in html.all(class_="card") if card.all("img")]
    assert [card.all("h3")[0].text for card in columns] == ["original", "protected", "full"]
    assert [len(card.all("img")) for card in columns] == [1, 2, 2]
    assert [len(card.all(class_="bar")) for card in columns] == [6, 7, 6]  # five labels, a caption; one that fell
    assert [bar.all(class_="label")[0].text for bar in columns[1].all(class_="strong")] == ["label 3, rank 9"]
    assert html.all(class_="verdict")[0].words.count("misread") == 1
    assert "never used in training" in html.words
    assert read(page([made()], ABOUT)).all("h1")[0].text == "photo.png"
    assert "folder" not in html.words


def test_several_files_have_sections_and_a_summary():
    html = read(page([made("a.png"), made("b.png", protected=3)], ABOUT))
    assert [section.attributes["id"] for section in html.all("section")] == ["summary", "file-1", "file-2", "reading"]
    assert "misread in 1 of 2" in html.words
    assert "1 of 2 misread" in html.words


def test_a_file_without_anything_to_compare_with_has_no_verdict_and_no_difference():
    html = read(page([made(versions=(PROTECTED,))], ABOUT))
    assert "nothing to compare it with" in html.words
    assert len(html.all("img")) == 1
    assert not html.all(class_="tile")
    assert "as it was" not in html.words


def test_names_and_labels_are_text_whatever_they_hold():
    data = page([made(HOSTILE, captions=['<b onclick="x">3</b>'])], ABOUT)
    html = read(data)
    assert len(html.all("script")) == 1
    assert not html.all("b")
    assert all(not key.startswith("on") for element in html.all() for key in element.attributes)
    assert b"alert(1)</script>" not in data


def test_nothing_is_loaded_from_anywhere():
    data = page([made()], ABOUT)
    assert b"://" not in data
    sources = [element.attributes["src"] for element in read(data).all("img")]
    assert all(source.startswith("data:image/webp;base64,") for source in sources)


def test_a_difference_is_magnified_around_grey():
    change = difference(showing(13), showing(10))
    assert (change == 128 + 3 * MAGNIFIED).all()
    assert (difference(showing(0), showing(255)) == 0).all()
    assert (difference(showing(7), showing(7)) == 128).all()


def test_large_pictures_are_shrunk_before_they_are_kept():
    large = {name: np.zeros((40, 3000, 3), np.uint8) for name in (ORIGINAL, PROTECTED)}
    found = audit(large, make_reader(ScriptedModel(), LABELS))
    kept = panel(Audited("x.png", 3000, 40, "tiny", "ab" * 8, 50, 0.5, {}, (found,)), large, True)
    assert max(kept.pictures[ORIGINAL].shape) == max(kept.differences[PROTECTED].shape) == 1024


@pytest.mark.parametrize("versions", [(PROTECTED,), (PROTECTED, FULL), (ORIGINAL, PROTECTED, FULL)])
def test_the_picture_has_a_column_for_each_version(versions):
    with Image.open(io.BytesIO(draw([made(versions=versions, captions=["caption −3"])]))) as drawn:
        assert drawn.format == "PNG"
        assert len(versions) * COLUMN < drawn.width < (len(versions) + 1) * COLUMN
        assert len(drawn.convert("RGB").getcolors(1 << 24) or []) > 20


def test_the_picture_of_several_files_holds_names_that_no_font_has():
    one = Image.open(io.BytesIO(draw([made("日本語\n" + 300 * "x")])))
    two = Image.open(io.BytesIO(draw([made(), made(HOSTILE)])))
    assert two.width == one.width
    assert two.height > 1.8 * one.height


def test_the_page_fits_a_phone_and_a_desktop(tmp_path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "audit.html").write_bytes(
        page([made(40 * "long-name-" + ".png", captions=["c" * 90 + " 3"])], ABOUT)
    )
    with browser(tmp_path / "browser") as window:
        window.open(tmp_path / "page" / "audit.html")
        assert window.complaints() == []
        for width, columns in ((390, 1), (1280, 3)):
            window.pretend("setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
            assert window.run("return document.documentElement.scrollWidth") <= width
            lefts = window.run(
                "return [...document.querySelectorAll('.close > .card')].map(c => c.getBoundingClientRect().left)"
            )
            assert len(set(lefts)) == columns
        tops = window.run(
            "return [...document.querySelectorAll('.close .bars')].map(b => b.getBoundingClientRect().top)"
        )
        assert len(set(tops[::2])) == 1, "what one model reads in each version stands side by side"
        shown = window.run("return [...document.querySelectorAll('img')].every(i => i.complete && i.naturalWidth > 0)")
        assert shown
