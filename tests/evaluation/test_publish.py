"""The figures in the pages and in the card are those that the commands measured."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from psic_cli import zoo
from psic_cli.errors import InputError
from psic_cli.evaluation import publish
from psic_cli.evaluation.publish import COMMANDS, MODEL, NOT_MEASURED, PAGES, PART, PARTS, WEIGHTS

ROOT = Path(__file__).parents[2]
VERSIONS = ("protected", "full", "machine", "keyless")


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def measured_files(folder: Path, weights: str) -> None:
    """A small made-up measurement by every command."""
    about = {"weights_hash": weights}
    contents: dict[str, dict[str, Any]]
    both = {"full": interval(32.5), "protected": interval(31.25)}
    summary = {
        "quality": 50,
        "pictures": 24,
        "bpp": interval(0.456),
        "psnr": both,
        "ms_ssim": both,
    }
    bd = [{"anchor": name, "percent": interval(-50.2), "low_db": 28.1, "high_db": 35.0} for name in ("jpeg", "other")]
    zero_shot = [
        {
            "model": model,
            "version": version,
            "quality": None if version == "original" else 50,
            "pictures": 500,
            "top1": interval(0.5),
            "kept": interval(0.75),
            "attack_success": None if version in ("original", "full") else interval(0.25),
        }
        for model in ("witness:lite0", "witness:lite2")
        for version in ("original", *VERSIONS)
    ]
    gain: dict[str, Any] = {
        "model": "witness:lite2",
        "quality": 50,
        **{key: interval(0.4) for key in ("bpp", "full", "machine", "gain")},
    }
    sizes = [
        {"version": version, "quality": 50, "bpp": interval(1.4), "psnr": interval(psnr)}
        for version, psnr in (("protected", 30.25), ("full", 33.5), ("machine", 32.0))
    ]
    asked = {"names": ["dog", "cat"], "chance": 0.5, "zero_shot": [{**row, "pictures": 300} for row in zero_shot]}
    recall = {"r1": interval(0.3), "r5": interval(0.6)}
    pairs: dict[str, Any] = {
        "model": "witness:lite0",
        "version": "full",
        "image_to_text": recall,
        "text_to_image": recall,
    }
    pairs |= {"attack_success_image_to_text": None, "attack_success_text_to_image": interval(0.9)}
    outcome: dict[str, Any] = {
        "attack": "jpeg75",
        "model": "witness:lite0",
        "pictures": 500,
        "original": interval(0.6),
        "protected": interval(0.1),
        "remaining": interval(0.87),
    }
    same = [
        {"model": "witness:lite0", "pictures": 64, "side": side, "version": version, "agreement": interval(0.04)}
        for side in (256, 1280)
        for version in VERSIONS
    ]
    contents = {
        "kodak": {"rate_distortion": {"summaries": [summary], "bd_rates": bd}},
        "imagenet": {
            "classification": {"versions": sizes, "zero_shot": zero_shot, "machine": [gain], "kinds": asked},
            "attacks": {"outcomes": [outcome, {**outcome, "model": "witness:lite2", "remaining": None}]},
        },
        "machine": {"classification": {"versions": sizes, "machine": [{**gain, "quality": 1}]}},
        "retrieval": {"retrieval": {"retrieval": [pairs]}},
        "large": {"agreement": same},
        "kodak-effort-0": {"rate_distortion": {"summaries": [{**summary, "bpp": interval(0.5)}]}},
        "kodak-half": {"rate_distortion": {"summaries": [{**summary, "psnr": {**both, "protected": interval(32.0)}}]}},
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps({"about": about, **content}), "utf-8")


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A copy of the files that are written, and results/ beside them; the working folder."""
    for path in (*PAGES, MODEL / zoo.CARD_FILE):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    (tmp_path / "results").mkdir()
    measured_files(tmp_path / "results", zoo.read_card(ROOT / MODEL).weights_hash.hex())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_figure_lands_in_its_place_and_nothing_else_changes(checkout):
    before = {page: page.read_text("utf-8") for page in PAGES}
    publish.main(["results"])
    results, readme = (page.read_text("utf-8") for page in PAGES)
    for line in (
        "| 50 | 0.456 | 32.50 | 31.25 | 32.5000 | 31.2500 | 1.25 |",
        "| 50 | 32.50 | 32.00 | 31.25 | 40 % |",
        "| jpeg | -50.2 (-50.3..-50.1) | 28.1..35.0 dB |",
        "| protected | 0.500 (75 %) | 25 % | 0.500 (75 %) | 25 % |",
        "| original | 0.500 | - | 0.500 | - |",
        "| 50 | 1.400 | 33.50 | 30.25 | 3.25 |",
        "| witness:lite2 | 1 | 0.400 | 0.400 | 0.400 | 0.400 (0.300..0.500) |",
        "| witness:lite0 | full | 0.300 (0.200..0.400) | 0.600 | 0.300 (0.200..0.400) | 0.600 | - | 90 % |",
        "| model | version | image to text R@1 | R@5 | text to image R@1 | R@5 | ASR to text | ASR to image |",
        "| jpeg75 | 0.600 | 0.100 | 87 % (77..97) | 0.600 | 0.100 | - |",
        "| version | witness:lite0, 256 px | witness:lite0, 1280 px |",
        "| full | 4 % (-6..14) | 4 % (-6..14) |",
        "| 50 | 0.500 | 0.456 | 32.50 | 32.50 | 31.25 | 31.25 |",
        "\n300 pictures among 2 kinds, chance 50 %.\n\n| version | witness:lite0 | ASR | witness:lite2 | ASR |",
        "| keyless | 0.500 (75 %) | 25 % | 0.500 (75 %) | 25 % |",
    ):
        assert line in results
    assert "\n-50.2 % against jpeg.\n" in readme
    for page, text in before.items():
        others = [WEIGHTS.sub("", PART.sub("", one)) for one in (text, page.read_text("utf-8"))]
        assert others[0] == others[1]
    card = json.loads((MODEL / zoo.CARD_FILE).read_text("utf-8"))
    assert card["measured"]["kodak"]["by_quality"][0]["psnr_protected"] == 31.25
    assert card["measured"]["imagenet_val_zero_shot_top1"]["witness:lite2"]["keyless"] == 0.5
    assert card["training"] == json.loads((ROOT / MODEL / zoo.CARD_FILE).read_text("utf-8"))["training"]


def test_figures_of_other_weights_are_not_published(checkout):
    measured_files(checkout / "results", "0" * 16)
    before = PAGES[0].read_bytes()
    with pytest.raises(InputError, match="measured with weights 0000000000000000"):
        publish.main(["results"])
    assert PAGES[0].read_bytes() == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"about": {}}'])
def test_a_file_that_is_something_else_is_named_with_the_command_that_makes_it(checkout, content):
    path = checkout / "results" / "large.json"
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=r"large\.json: not results") as raised:
        publish.main(["results"])
    assert raised.value.hint == f"{COMMANDS['large']} -o large.json"


def test_what_is_missing_is_not_measured_and_no_old_figure_stays(checkout):
    publish.main(["results"])
    (checkout / "results" / "imagenet.json").unlink()
    publish.main(["results"])
    parts = {match[2]: match[0].split("\n", 1)[1] for page in PAGES for match in PART.finditer(page.read_text("utf-8"))}
    missing = {"attacks", "classification", "kinds", "small", "machine"}
    assert {name for name, text in parts.items() if text.startswith(NOT_MEASURED)} == missing
    assert "imagenet_val_zero_shot_top1" not in json.loads((MODEL / zoo.CARD_FILE).read_text("utf-8"))["measured"]
    for name in COMMANDS:
        (checkout / "results" / f"{name}.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match="there are no results in results"):
        publish.main(["results"])


def test_a_place_for_unknown_figures_is_an_error(checkout):
    with open(PAGES[1], "a", encoding="utf-8") as readme:
        readme.write("<!-- weather -->\n<!-- end -->\n")
    with pytest.raises(InputError, match="no figures called 'weather'"):
        publish.main(["results"])


def test_the_pages_have_a_place_for_all_figures_and_are_of_the_weights_that_are_shipped():
    found = set()
    shipped = zoo.read_card(ROOT / MODEL).weights_hash.hex()
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        found |= {match[2] for match in PART.finditer(text)}
        assert re.findall(WEIGHTS, text) == [shipped]
    assert found == set(PARTS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_pages_show_the_commands(name):
    results = (ROOT / PAGES[0]).read_text("utf-8")
    assert f"`{COMMANDS[name]} -o {name}.json`" in results
