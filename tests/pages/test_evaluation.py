"""The page of psic evaluate: it shows what was measured and nothing else, loads nothing, and believes no name."""

import pytest

from psic_cli.pages.evaluation import page
from tests.pages.conftest import HOSTILE, MODELS, QUALITIES, shown
from tests.pages.reading import read

PARTS = {
    "rate_distortion": {"rates"},
    "classification": {"readability", "kinds", "machine"},
    "attacks": {"attacks"},
    "agreement": {"sizes"},
    "retrieval": {"retrieval"},
}
ALWAYS = {"limits", "method"}


def only(results, *parts):
    """Results of a run that measured these parts alone."""
    return results | {part: None for part in PARTS if part not in parts} | {"failures": []}


def sections(html):
    return {section.attributes["id"]: section for section in html.all("section")}


def test_a_page_of_everything_is_well_formed_and_has_every_section(results, pictures):
    found = sections(read(page(results, pictures)))
    assert set(found) == ALWAYS | {"pictures"} | set().union(*PARTS.values())
    for section in found.values():
        assert section.all("h2")[0].text
        assert len(section.words.split()) > 8


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_was_not_measured_leaves_no_heading(results, part):
    html = read(page(only(results, part)))
    assert set(sections(html)) == ALWAYS | PARTS[part]
    assert [a.attributes["href"][1:] for a in html.all("nav")[0].all("a")] == list(sections(html))
    assert all(heading.words.strip() for tag in ("h1", "h2", "h3", "h4", "caption") for heading in html.all(tag))
    assert all(card.words.strip() for card in html.all(class_="card") + html.all(class_="grid"))


def test_a_run_that_measured_nothing_still_says_how_to_repeat_it(results):
    html = read(page(only(results)))
    assert set(sections(html)) == ALWAYS
    assert not html.all(class_="tile")


def test_nothing_is_loaded_from_anywhere(results, pictures):
    data = page(results, pictures)
    assert b"http://" not in data
    assert b"https://" not in data
    assert b"url(" not in data
    assert b"@import" not in data
    html = read(data)
    loaded = [
        e.attributes[name] for e in html.all() for name in ("src", "href", "srcset", "data") if name in e.attributes
    ]
    assert len(loaded) > 10
    assert all(address.startswith(("data:", "#")) for address in loaded)


def test_names_cannot_add_anything_to_a_page(results, pictures):
    results["classification"]["zero_shot"][0]["model"] = HOSTILE
    results["attacks"]["outcomes"][0]["model"] = HOSTILE
    results["about"]["command"] = results["about"]["model"] = HOSTILE
    results["rate_distortion"]["peers"][0]["peer"] = HOSTILE
    html = read(page(results, pictures))
    assert len(html.all("script")) == 1
    assert not [element for element in html.all() if any(name.startswith("on") for name in element.attributes)]
    assert not html.all("img", src="x")
    assert HOSTILE in html.words


def test_every_measured_point_has_a_mark(results):
    html = read(page(only(results, "rate_distortion")))
    psnr, similar = html.all(class_="chart")
    marks = {line.attributes["data-series"]: len(line.all(class_="mark")) for line in psnr.all("g", class_="line")}
    assert marks["psic, full"] == marks["psic, protected"] == len(QUALITIES)
    assert marks["JPEG"] == marks["WebP"] == 3  # the fourth is far beyond
    assert marks["bmshj2018-hyperprior"] >= 3
    counts = [len(line.all(class_="mark")) for line in similar.all("g", class_="line")]
    assert sorted(counts) == sorted([len(QUALITIES)] * 2 + [3, 3])


def test_published_curves_stand_beside_the_kodak_pictures_alone(results):
    for row in results["rate_distortion"]["pictures"]:
        row["picture"] = row["picture"].replace("kodim", "photo")
    html = read(page(only(results, "rate_distortion")))
    names = {line.attributes["data-series"] for line in html.all("g", class_="line")}
    assert names == {"psic, full", "psic, protected", "JPEG", "WebP"}


def test_pictures_too_small_for_ms_ssim_leave_out_its_chart(results):
    for row in results["rate_distortion"]["summaries"]:
        row["ms_ssim"] = {"full": None, "protected": None}
    for row in results["rate_distortion"]["peers"]:
        row["ms_ssim"] = None
    assert len(read(page(only(results, "rate_distortion"))).all(class_="chart")) == 1


def test_the_shield_matrix_holds_every_model_and_attack(results):
    first = read(page(only(results, "attacks"))).all("table", class_="heat")[0]
    assert [head.words.strip() for head in first.all("thead")[0].all("th")] == ["attack", *MODELS]
    assert [row.all("th")[0].words.split()[0] for row in first.all("tbody")[0].all("tr")] == [
        "no",
        "jpeg50",
        "blur",
        "noise",
    ]
    assert len(first.all("td")) == 8
    assert "70 %" in first.words


def test_a_shield_that_never_was_has_no_remainder(results):
    for row in results["attacks"]["outcomes"]:
        row["remaining"] = None
    html = read(page(only(results, "attacks")))
    assert html.all("td")[0].words.split() == ["–", "30", "vs", "60", "%"]
    assert "strongest attack" not in html.words


def test_one_quality_gives_a_machine_table_without_charts(results):
    data = results["classification"]
    for key in ("versions", "zero_shot", "unseen", "machine"):
        data[key] = [row for row in data[key] if row["quality"] in (50, None)]
    machine = sections(read(page(only(results, "classification"))))["machine"]
    assert not machine.all("svg")
    assert len(machine.all("tbody")[0].all("tr")) == len(MODELS)


def test_pictures_lie_over_each_other_with_a_slider(results, pictures):
    figures = read(page(results, pictures)).all("figure")
    assert len(figures) == 2
    for figure, name in zip(figures, ("photo.png", HOSTILE), strict=True):
        assert [one.attributes["data-version"] for one in figure.all("img")] == ["original", "full", "protected"]
        assert figure.all("input")[0].attributes["type"] == "range"
        assert figure.all("img")[0].attributes["alt"] == f"{name}, original"
        assert figure.all("option", selected="")[1].text == "protected"


def test_what_is_needed_to_measure_again_is_there(results):
    method = sections(read(page(results)))["method"].words
    about = results["about"]
    assert "".join(about["command"].split()) in "".join(method.split())
    for fact in (about["weights_sha256"], about["platform"], "2.13.0", "ab" * 32, "cd" * 32):
        assert fact in method


def test_limits_name_the_models_and_what_was_left_out(results):
    limits = sections(read(page(results)))["limits"].words
    for model in MODELS:
        assert model in limits
    assert "the picture ends too early" in limits
    assert "from 12 pictures alone" in limits
    assert "pictures alone" not in sections(read(page(only(results, "rate_distortion"))))["limits"].words
    assert "No model was asked" in sections(read(page(only(results))))["limits"].words


def test_a_figure_below_zero_has_a_minus_sign(results):
    assert "−37 %" in read(page(only(results, "rate_distortion"))).words


def test_the_same_results_give_the_same_page(results):
    assert page(results, [shown("a.png", 1)]) == page(results, [shown("a.png", 1)])
