"""psic bench as a user runs it: figures for machines, tables for people, and one line where something is wrong."""

import json

import pytest

from psic_cli.benchmark import processes
from psic_cli.benchmark.processes import Spent
from psic_cli.shell.exit_codes import ExitCode
from tests.cli.conftest import picture_bytes
from tests.cli.run import psic

OPTIONS = ["--peers", "jpeg", "--repeat", "1", "--threads", "1", "-m", "tiny", "--json"]


@pytest.fixture
def quick(monkeypatch):
    """Stand-in figures of fresh processes, which take seconds each."""
    monkeypatch.setattr("psic_cli.benchmark.measure.measure", lambda *arguments: Spent(1.5, 1.0, 200_000_000))


@pytest.mark.slow
def test_fresh_processes_are_measured_and_what_is_printed_is_written(folder, monkeypatch):
    real = processes.measure

    def stand_in_for_psic(command, *arguments):  # its processes take seconds each
        if {"encode", "decode"} & set(command) and "psic_cli" in command:
            return Spent(1.5, 1.0, 200_000_000)
        return real(command, *arguments)

    monkeypatch.setattr("psic_cli.benchmark.measure.measure", stand_in_for_psic)
    result = psic("bench", "--sizes", "0.004", *OPTIONS, "-o", "out.json")
    assert result.code == ExitCode.OK, result.stderr
    assert (folder / "out.json").read_bytes() == result
    done = json.loads(result)
    peaks = [row[f"{step}_peak_bytes"] for row in done["sizes"][0]["rows"] for step in ("encode", "decode")]
    assert all(peak is None or peak > 10e6 for peak in peaks)
    assert "psic --help" in [row["what"] for row in done["start_up"]]
    assert all(row["seconds"]["median"] > 0 for row in done["start_up"])


def test_json_has_every_codec_at_every_size_and_what_is_needed_to_repeat_it(folder, quick):
    result = psic("bench", "--sizes", "0.008,0.004,0.004", *OPTIONS)
    assert result.code == ExitCode.OK, result.stderr
    done = json.loads(result)
    assert [(size["width"], size["height"]) for size in done["sizes"]] == [(77, 51), (110, 73)]
    for size in done["sizes"]:
        names = [row["name"] for row in size["rows"]]
        assert names == ["psic", "psic-protected", "psic-effort-0", "psic-effort-1", "jpeg"]
        assert size["rows"][1]["encode"] is None
        for row in size["rows"]:
            assert row["bpp"] > 0
            for step in ("decode",) if row["encode"] is None else ("encode", "decode"):
                for figure in ("seconds", "ratio", "cpu_seconds", "cpu_ratio"):
                    assert set(row[step][figure]) == {"median", "low", "high"}
                assert row[step]["seconds"]["median"] > 0
                assert row[f"{step}_peak_bytes"] == 200_000_000
        assert size["rows"][0]["encode"]["ratio"]["median"] == 1
    assert done["skipped"] == []

    costs = done["costs"]
    assert 0 < costs["psic-effort-0"]["encode_kmac"] < costs["psic"]["encode_kmac"]
    assert costs["psic"]["decode_kmac"] == costs["psic-protected"]["decode_kmac"] > 0
    assert done["costs"]["psic"]["parameters"] > 0
    assert {row["seconds"]["median"] for row in done["start_up"]} == {1.5}

    about = done["about"]
    assert (about["model"], about["threads"], about["repeat"], about["peers"]) == ("tiny", 1, 1, ["jpeg"])
    assert about["processor"]
    assert len(about["weights_hash"]) == 16


def test_people_get_tables_of_their_own_picture(folder, quick):
    (folder / "mine.png").write_bytes(picture_bytes())
    done = psic("bench", "--picture", "mine.png", "--peers", "none", "--repeat", "1", "-m", "tiny")
    assert done.code == ExitCode.OK, done.stderr
    assert done == b""
    assert "40 x 24 pixels" in done.stderr
    assert "mine.png" in done.stderr
    assert "kMAC/px" in done.stderr
    assert "psic-protected" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--sizes", "big"], ExitCode.USAGE, "sizes 'big' are not a list of numbers"),
        (["--sizes", "0.4,0"], ExitCode.USAGE, "not all above 0"),
        (["--sizes", "nan"], ExitCode.USAGE, "not all above 0"),
        (["--sizes", "9000"], ExitCode.USAGE, "up to 200 megapixels"),
        (["--peers", "gif"], ExitCode.USAGE, "unknown peer 'gif'"),
        (["--repeat", "0"], ExitCode.USAGE, "repeat"),
        (["--threads", "0"], ExitCode.USAGE, "threads"),
        (["--sizes", "2", "--picture", "photo.png"], ExitCode.USAGE, "--picture and --sizes contradict"),
        (["--picture", "missing.png"], ExitCode.INPUT, "cannot read missing.png"),
        (["--picture", "there.json"], ExitCode.INPUT, "there.json"),
        (["-m", "unheard-of"], ExitCode.MODEL, "no model named unheard-of"),
        (["-o", "there.json"], ExitCode.OUTPUT, "there.json exists"),
    ],
)
def test_wrong_arguments_are_one_clear_line(folder, arguments, code, words):
    (folder / "there.json").write_text("{}")
    model = [] if "-m" in arguments else ["-m", "tiny"]
    done = psic("bench", *arguments, *model)
    assert done.code == code
    assert len(done.errors) == 1
    assert words in done.errors[0]
    assert done == b""
