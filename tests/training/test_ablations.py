"""The comparisons: their configurations are valid, each changes one thing, and their table says what was measured."""

import dataclasses
import json
from pathlib import Path

import pytest

from psic_cli.errors import InputError
from psic_cli.training import ablations, recipe
from psic_cli.training.config import load_config

CONFIGS = Path(__file__).parent.parent.parent / "configs"
FOLDERS = COMPRESSION, CONDITIONS = [CONFIGS / "ablations" / name for name in ("compression", "conditions")]
# What these change is no single number
MORE_KEYS = {"as-before": 2, "gated": 2, "small-crops": 1}


def changed_keys(base, changed):
    before, after = dataclasses.asdict(base), dataclasses.asdict(changed)
    parts = ("data", "network", "compression", "rounding", "conditions")
    return [key for part in parts for key in before[part] if before[part][key] != after[part][key]]


@pytest.mark.parametrize("name", [name for name in ablations.variants(CONDITIONS) if name != "base"])
def test_each_comparison_of_the_second_stage_changes_one_key(name):
    base = load_config(CONDITIONS / "base.toml")
    changed = load_config(CONDITIONS / "base.toml", CONDITIONS / f"{name}.toml")
    assert dataclasses.replace(changed, conditions=base.conditions) == base
    assert len(changed_keys(base, changed)) == 1
    assert not set(changed.conditions.judges) & set(changed.conditions.vlps)


@pytest.mark.parametrize("name", [name for name in ablations.variants(COMPRESSION) if name != "base"])
def test_each_comparison_of_the_first_stage_changes_one_thing(name):
    base = load_config(COMPRESSION / "base.toml")
    changed = load_config(COMPRESSION / "base.toml", COMPRESSION / f"{name}.toml")
    assert changed.start_from == base.start_from
    assert len(changed_keys(base, changed)) == 1 + MORE_KEYS.get(name, 0)


def test_every_folder_of_comparisons_is_known():
    assert sorted((CONFIGS / "ablations").iterdir()) == FOLDERS


def test_the_first_stage_is_compared_with_the_network_that_is_shipped():
    sizes = load_config(CONFIGS / "psic-base.toml").network
    ours = load_config(COMPRESSION / "base.toml").network
    assert dataclasses.replace(sizes, even_from=ours.even_from) == ours


def test_larger_files_than_the_base_have_a_positive_bd_rate():
    def curve(factor):
        points = zip((8, 32, 56), (0.1, 0.3, 0.9), (27.0, 32.0, 36.0), strict=True)
        return {
            key: value
            for level, bpp, psnr in points
            for key, value in ((f"bpp{level}", factor * bpp), (f"psnr{level}", psnr))
        }

    rows = {"base": curve(1.0), "larger": curve(1.1), "of-the-second-stage": {"full32_psnr": 33.0}}
    ablations.compare(rows)
    assert rows["base"]["bd_rate"] == pytest.approx(0.0, abs=1e-9)
    assert rows["larger"]["bd_rate"] == pytest.approx(10.0)
    assert "bd_rate" not in rows["of-the-second-stage"]
    assert "bd_rate_at_640" not in rows["larger"]  # nothing was measured there
    heading = ablations.table([rows]).splitlines()[0]
    assert heading.startswith("| run | BD-rate, % | bpp | PSNR, dB | full, dB |")


def test_without_the_base_there_is_nothing_to_compare_with():
    rows = {"larger": {"bpp8": 0.1, "bpp32": 0.3, "bpp56": 0.9, "psnr8": 27.0, "psnr32": 32.0, "psnr56": 36.0}}
    ablations.compare(rows)
    assert "bd_rate" not in rows["larger"]


def test_the_base_comes_first_and_must_be_there(tmp_path):
    assert ablations.variants(CONDITIONS)[0] == "base"
    with pytest.raises(InputError, match=r"has no base\.toml"):
        ablations.variants(tmp_path)


def test_a_table_row_for_each_configuration_with_the_spread_of_its_seeds(tmp_path, monkeypatch):
    trained = []

    def train(config, folder, device):
        trained.append((folder.name, config.seed, config.conditions.shield))
        folder.mkdir(parents=True)
        lines = [
            {"seconds_per_step": 0.5},
            {"validation": {"full32_psnr": 1.0}},
            {"validation": {"full32_psnr": 33.0 + 0.25 * config.seed, "protected32_agree_judges": 0.25}},
        ]
        (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")

    monkeypatch.setattr(recipe, "train", train)
    found = ablations.run_all(CONDITIONS, tmp_path, ["base", "cosine"], 2, "cpu")
    assert trained == [
        ("base-1", 1, "uaeo"),
        ("cosine-1", 1, "cosine"),
        ("base-2", 2, "uaeo"),
        ("cosine-2", 2, "cosine"),
    ]
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == found
    heading, _, *rows = found.splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| base", "| cosine"]
    assert rows[0].count("|") == heading.count("|")
    assert "| base | 33.38 ± 0.12 | 0.25 |" in rows[0]  # what no run measured has no column
    assert rows[0].endswith("| 0.50 |")
