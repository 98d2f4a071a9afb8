"""The layout and parts of every page: whole, escaped, and alone."""

import base64
import hashlib
import io

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup
from PIL import Image

from psic_cli.pages.base import Bar, Figure, bars, data_uri, document, fragment, table
from tests.pages.reading import read

HOSTILE = "\"'><script>alert(1)</script>&amp;"


def test_a_page_is_whole_and_names_what_it_is_about():
    page = read(document("A title", Markup("<section>text</section>"), summary="A summary", kind="psic audit"))
    assert [one.text for one in page.all("title") + page.all("h1")] == ["A title", "A title"]
    assert "A summary" in page.words
    assert page.all("html")[0].attributes["lang"] == "en"
    assert page.all("meta", name="viewport")


def test_a_page_runs_its_own_script_alone():
    page = read(document("t", Markup("")))
    (script,) = page.all("script")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    (policy,) = [m.attributes["content"] for m in page.all("meta") if "Policy" in m.attributes.get("http-equiv", "")]
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_what_is_put_into_a_page_is_escaped():
    body = bars([Bar(HOSTILE, 0.5, HOSTILE)]) + table(HOSTILE, [HOSTILE], [[HOSTILE], [Figure(HOSTILE, HOSTILE)]])
    page = read(document(HOSTILE, body, summary=HOSTILE, kind=HOSTILE))
    assert len(page.all("script")) == 1
    assert page.words.count(HOSTILE) == 11
    assert page.all("div", role="region")[0].attributes["aria-label"] == HOSTILE


def test_a_body_that_is_no_markup_is_text():
    assert len(read(document("t", "<script>1</script>")).all("script")) == 1  # type: ignore[arg-type]


def test_a_name_that_utf_8_cannot_express_is_spelled_out():
    assert b"caf\\udce9.png" in document("caf\udce9.png", Markup(""))


def test_a_bar_stays_in_its_track():
    rows = [Bar("a", 1.7, "170 %", low=-0.2, high=1.9), Bar("b", -1, "less than nothing"), Bar("c", 0.25, "25 %")]
    page = read(bars(rows))
    assert [one.attributes["style"] for one in page.all("span", class_="fill")] == [
        "width:100.00%",
        "width:0.00%",
        "width:25.00%",
    ]
    assert [one.attributes["style"] for one in page.all("span", class_="whisker")] == ["left:0.00%;right:0.00%"]


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError):
        fragment("bars.html")


def test_a_picture_becomes_text_and_large_ones_shrink():
    rgb = np.zeros((30, 900, 3), np.uint8)
    uri = data_uri(rgb, longest=300)
    assert uri.startswith("data:image/webp;base64,")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        assert picture.size == (300, 10)


def test_a_lossless_picture_is_what_it_was():
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(base64.b64decode(data_uri(rgb, lossless=True).partition(",")[2]))) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), rgb)
