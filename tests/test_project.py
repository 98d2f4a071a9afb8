"""Rules that no single module can hold: who may import whom, what start-up loads, what a wheel contains."""

import json
import os
import pkgutil
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import psic_cli

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "psic_cli"
LONGEST_FILE = 350  # lines; what is longer has two subjects
HEAVY = ("torchvision", "compressai", "open_clip", "timm")

SOURCES = sorted(path for folder in (PACKAGE, ROOT / "tests", ROOT / "sample_images") for path in folder.rglob("*.py"))
PAGES = sorted({*ROOT.glob("*.md"), *PACKAGE.rglob("*.md"), *(ROOT / "sample_images").glob("*.md")})


def modules_below(name):
    """Dotted names of every module in a package of psic_cli, found without importing any."""
    return [f"psic_cli.{name}.{found.name}" for found in pkgutil.iter_modules([str(PACKAGE / name)])]


def loaded_after_importing(*modules):
    """Top-level names that a fresh interpreter has loaded after these imports."""
    program = f"import sys, json\nimport {', '.join(modules)}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_imports_run_one_way():
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long_to_read(path):
    lines = path.read_text("utf-8").count("\n")
    assert lines <= LONGEST_FILE


def test_no_file_or_folder_is_named_after_nothing():
    empty_names = re.compile(r"utils?|helpers?|managers?|misc|common")
    named = {part for path in SOURCES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert [name for name in sorted(named) if empty_names.search(name)] == []


def test_encoding_and_decoding_load_no_research_library():
    loaded = loaded_after_importing(
        "psic_cli.codec", "psic_cli.zoo", *modules_below("networks"), *modules_below("commands")
    )
    assert loaded.isdisjoint(HEAVY)


def test_witnesses_load_no_research_library():
    program = """
import sys, torch
before = set(sys.modules)
from psic_cli.vlp.interface import load_vlp
for spec in ("witness:lite0", "witness:lite1"):
    load_vlp(spec).features(torch.rand(1, 3, 64, 64), 64)
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "safetensors" in loaded
    assert loaded.isdisjoint({*HEAVY, "transformers"})


def test_help_info_and_keygen_load_no_torch():
    loaded = loaded_after_importing(
        "psic_cli.__main__",
        "psic_cli.app",
        "psic_cli.keys",
        "psic_cli.picture",
        "psic_cli.zoo",
        "psic_cli.pillow_plugin",
        *modules_below("bitstream"),
        *modules_below("shell"),
        *modules_below("commands"),
    )
    assert loaded.isdisjoint({"torch", *HEAVY})


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_changelog_has_a_section_for_this_version():
    assert f"## [{psic_cli.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.slow
def test_a_wheel_holds_one_package_with_the_models_inside(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names} == {"psic_cli", f"psic-{psic_cli.__version__}.dist-info"}
    assert "psic_cli/bitstream/FORMAT.md" in names
    models = {
        f"psic_cli/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "models").rglob("*") if path.is_file()
    }
    assert models <= names
