"""The comparisons: their configurations are valid, each changes one thing, and their table says what was measured."""

import dataclasses
import json
from pathlib import Path

import pytest

from psic_cli.errors import InputError
from psic_cli.training import ablations, loop
from psic_cli.training.config import load_config

FOLDER = Path(__file__).parent.parent.parent / "configs" / "ablations"


@pytest.mark.parametrize("name", [name for name in ablations.variants(FOLDER) if name != "base"])
def test_each_comparison_changes_one_key(name):
    base = load_config(FOLDER / "base.toml")
    changed = load_config(FOLDER / "base.toml", FOLDER / f"{name}.toml")
    assert dataclasses.replace(changed, protection=base.protection) == base
    before, after = dataclasses.asdict(base.protection), dataclasses.asdict(changed.protection)
    assert sum(before[key] != after[key] for key in before) == 1
    assert not set(changed.protection.judges) & set(changed.protection.vlps)


def test_the_base_comes_first_and_must_be_there(tmp_path):
    assert ablations.variants(FOLDER)[0] == "base"
    with pytest.raises(InputError, match=r"has no base\.toml"):
        ablations.variants(tmp_path)


def test_a_table_row_for_each_run(tmp_path, monkeypatch):
    trained = []

    def train(config, folder, device):
        trained.append((folder.name, config.protection.shield))
        folder.mkdir(parents=True)
        lines = [
            {"seconds_per_step": 0.5},
            {"validation": {"full32_psnr": 1.0}},
            {"validation": {"full32_psnr": 33.333, "protected32_agree_judges": 0.25}},
        ]
        (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")

    monkeypatch.setattr(loop, "train", train)
    found = ablations.run_all(FOLDER, tmp_path, ["base", "cosine"], "cpu")
    assert trained == [("base", "uaeo"), ("cosine", "cosine")]
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == found
    heading, _, *rows = found.splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| base", "| cosine"]
    assert rows[0].count("|") == heading.count("|")
    assert "| base | 33.33 | - | - | - | 0.25 |" in rows[0]
    assert rows[0].endswith("| 0.50 |")
