"""The commands that only look, and the one that makes keys."""

import json
import os
import stat
from pathlib import Path

import pytest

from psic_cli import codec, keys
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import encoded, picture_bytes
from tests.cli.run import psic


def test_info_says_what_the_file_says(sealed, unsealed):
    text = psic("info", sealed).stdout
    for word in (
        "40 x 24",
        "quality   50 of 100",
        "tiny",
        "the full picture needs the key",
        "sealed    ",
        "bpp",
    ):
        assert word in text
    assert "anybody can decode the full picture" in psic("info", unsealed).stdout


def test_info_as_json_adds_up(sealed, unsealed):
    for path in (sealed, unsealed):
        facts = json.loads(psic("info", "--json", path))
        size = path.stat().st_size
        assert facts["size_bytes"] == size
        assert facts["bpp"] == round(8 * size / 960, 6)
        assert sum(section["bytes"] for section in facts["sections"]) + facts["overhead_bytes"] == size
        assert (facts["width"], facts["height"], facts["quality"], facts["strength_percent"]) == (40, 24, 50, 100)
        assert facts["sealed"] == (path == sealed)
        assert facts["model"] == "tiny"
        assert len(bytes.fromhex(facts["weights_hash"])) == 8


def test_info_tells_with_the_key_what_is_sealed(sealed, unsealed, key):
    facts = json.loads(psic("info", "--json", "--symbols", "--condition", key, sealed))
    assert facts["format_version"] == 1
    assert facts["sealed_sections"][0]["name"] == "moves"
    assert set(facts["symbols"]) == {"z", "y", "moves"}
    without = json.loads(psic("info", "--json", "--symbols", sealed))
    assert "sealed_sections" not in without
    assert without["symbols"] == {name: facts["symbols"][name] for name in ("z", "y")}
    assert [section["name"] for section in without["sections"]][-1] == "sealed"
    opened = [section["name"] for section in json.loads(psic("info", "--json", unsealed))["sections"]]
    assert "moves" in opened
    assert "sealed" not in opened


def test_info_reads_a_pipe_and_several_files(sealed, unsealed):
    piped = json.loads(psic("info", "--json", stdin=sealed.read_bytes()))
    named = json.loads(psic("info", "--json", sealed))
    assert piped | {"file": ""} == named | {"file": ""}
    lines = psic("info", "--json", sealed, unsealed).stdout.splitlines()
    assert [json.loads(line)["file"] for line in lines] == [str(sealed), str(unsealed)]


def test_info_goes_on_after_a_file_that_is_none(sealed, photo):
    result = psic("info", "--json", photo, sealed)
    assert result.code == ExitCode.PARTIAL
    assert len(result.errors) == 1
    assert json.loads(result)["file"] == str(sealed)
    assert psic("info", photo).code == ExitCode.FORMAT


def test_info_looks_into_the_seal_with_the_key_only(folder, key):
    data = picture_bytes(kind="JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    path = encoded(folder / "x.psic", data, keys.read_key_file(key))
    assert "sealed_sections" not in json.loads(psic("info", "--json", path))
    facts = json.loads(psic("info", "--json", path, "--condition", key))
    assert [section["name"] for section in facts["sealed_sections"]] == ["moves", "exif"]
    assert "the key fits" in psic("info", path, "--condition", key).stdout
    keys.create_key_file(Path("other.bin"))
    assert psic("info", path, "--condition", "other.bin").code == ExitCode.CONDITION


def test_info_prints_hashes_of_the_symbols(sealed, unsealed, key):
    without = json.loads(psic("info", "--json", "--symbols", sealed))["symbols"]
    assert set(without) == {"z", "y"}
    facts = json.loads(psic("info", "--json", "--symbols", "--condition", key, sealed))
    assert facts["symbols"] == codec.symbols_hash(sealed.read_bytes(), keys.read_key_file(key))
    assert set(facts["symbols"]) == {"z", "y", "moves"}
    assert facts["symbols"] == json.loads(psic("info", "--json", "--symbols", unsealed))["symbols"]
    assert facts["symbols"]["z"] in psic("info", "--symbols", sealed).stdout


def test_keygen_makes_a_private_file_once(folder):
    for arguments in (["a.bin"], ["-o", "b.bin"]):
        result = psic("keygen", *arguments)
        path = Path(arguments[-1])
        assert result.code == 0
        assert result == b""
        assert keys.fingerprint(keys.read_key_file(path)) in result.stderr
        if os.name == "posix":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = path.read_bytes()
        again = psic("keygen", *arguments)
        assert again.code == ExitCode.OUTPUT
        assert path.read_bytes() == content


def test_keygen_shows_fingerprints(key):
    fingerprint = keys.fingerprint(keys.read_key_file(key))
    assert psic("keygen", "--show", key) == f"{fingerprint}\n".encode()
    assert psic("keygen", "--show", "-", stdin=key.read_bytes()) == f"{fingerprint}\n".encode()
    assert psic("keygen", "--show", "missing.bin").code == ExitCode.CONDITION


def test_models_lists_checks_and_shows(folder):
    listed = psic("models")
    assert listed.code == 0
    assert "tiny" in listed.stdout
    assert psic("models", "list") == listed
    cards = [json.loads(line) for line in psic("models", "list", "--json").stdout.splitlines()]
    assert psic("models", "--json") == psic("models", "list", "--json")
    tiny = next(card for card in cards if card["name"] == "tiny")
    assert tiny["size_bytes"] > 0
    assert json.loads(psic("models", "show", "tiny"))["name"] == "tiny"
    assert psic("models", "check", "tiny").stdout == f"tiny  {tiny['weights_hash']}  intact\n"


def test_models_lists_checks_and_shows_witnesses_in_a_section_of_their_own(folder):
    codecs, witnesses = psic("models").stdout.split("\nwitnesses, to measure with:\n")
    assert "tiny" in codecs
    assert "witness" not in codecs
    assert "measuring only" in next(line for line in witnesses.splitlines() if line.startswith("witness-lite2 "))
    cards = {card["name"]: card for card in map(json.loads, psic("models", "--json").stdout.splitlines())}
    assert (cards["tiny"]["kind"], cards["witness-lite2"]["kind"]) == ("codec", "witness")
    assert cards["witness-lite2"]["spec"] == "witness:lite2"
    assert json.loads(psic("models", "show", "witness-lite2"))["kind"] == "witness"
    assert psic("models", "check", "witness-lite2").stdout.endswith("intact\n")


@pytest.mark.parametrize("verb", ["check", "show"])
def test_models_that_are_not_there(folder, verb):
    result = psic("models", verb, "none")
    assert result.code == ExitCode.MODEL
    assert "tiny" in result.stderr, "the hint names those that are"
