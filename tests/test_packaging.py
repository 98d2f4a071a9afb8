"""What psic may be installed on: every page that names Pythons names the same ones, and the Makefile asks for them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from psic_cli import packages

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CLASSIFIED = [
    tuple(map(int, match.groups()))
    for match in (
        re.fullmatch(r"Programming Language :: Python :: (3)\.(\d+)", line) for line in PROJECT["classifiers"]
    )
    if match
]


def test_the_pythons_are_the_same_wherever_they_are_named():
    first, last = ("{}.{}".format(*version) for version in (CLASSIFIED[0], CLASSIFIED[-1]))
    assert PROJECT["requires-python"] == f">={first}"
    assert [minor for _, minor in CLASSIFIED] == list(range(CLASSIFIED[0][1], CLASSIFIED[-1][1] + 1))
    for page in ("README.md", "Makefile"):
        text = (ROOT / page).read_text("utf-8")
        assert re.findall(r"(3\.\d+) to (3\.\d+)", text) == [(first, last)], page
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert f"psic needs Python {first} or later" in makefile
    assert CLASSIFIED[0] <= sys.version_info[:2]


def test_an_optional_package_is_missing_where_its_requirement_says():
    for package, (major, minor) in packages.MISSING_FROM.items():
        requirement = f"{package}; python_version < '{major}.{minor}'"
        assert PROJECT["optional-dependencies"][package] == [requirement]
        assert not any(line.startswith(package) for line in PROJECT["dependencies"])


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("version", [(3, 9), *CLASSIFIED, (3, 15)])
def test_make_refuses_older_pythons_alone(tmp_path, version):
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$1" != -c ] || exec {sys.executable} -c "import sys; sys.version_info = {(*version, 0)}; $2"\n'
    )
    python.chmod(0o755)
    command = ["make", "--silent", f"PYTHON={python}", f"VENV={tmp_path}/venv", f"{tmp_path}/venv/bin/python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    accepted = version >= CLASSIFIED[0]
    assert (done.returncode == 0) == accepted, done.stderr
    assert ("psic needs Python 3.10 or later" in done.stderr) == (not accepted)
