"""Turns, ratios and what is left out."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from psic_cli import codec, zoo
from psic_cli.benchmark import measure, report
from psic_cli.benchmark.contenders import PillowCodec, PsicCodec, check_names, quality_near
from psic_cli.benchmark.pictures import made_picture
from psic_cli.benchmark.processes import CommandFailed, Spent, TookTooLong
from psic_cli.benchmark.results import Lap, Results, Skipped, spread, timing
from psic_cli.errors import UsageError
from psic_cli.evaluation import peers
from psic_cli.search.effort import DEFAULT_EFFORT


@pytest.fixture
def setup(tiny_models):
    return measure.Setup(zoo.load("tiny", device="cpu"), 50, ["jpeg", "webp"], 1, 2, 60.0)


def test_ratios_are_taken_within_each_repetition():
    laps = [Lap(2.0, 1.0), Lap(8.0, 2.0), Lap(6.0, 3.0)]
    own = [Lap(1.0, 1.0), Lap(2.0, 1.0), Lap(2.0, 1.0)]
    result = timing(laps, own)
    assert dataclasses.astuple(result.seconds) == (6.0, 2.0, 8.0)
    assert dataclasses.astuple(result.ratio) == (3.0, 2.0, 4.0)
    assert dataclasses.astuple(result.cpu_ratio) == (2.0, 1.0, 3.0)
    assert dataclasses.astuple(spread([5.0])) == (5.0, 5.0, 5.0)


def test_codecs_take_turns_and_what_takes_too_long_is_not_tried_again(setup, monkeypatch):
    calls: list[str] = []
    skipped: list[Skipped] = []
    steps: list[int] = []

    def spend(command, threads, limit_seconds=0.0):
        if "webp" in command:
            raise TookTooLong("takes longer than 60 s")
        assert limit_seconds == (0.0 if "psic_cli" in command else 60.0)
        return Spent(1.0, 1.0, 1000)

    monkeypatch.setattr(measure, "measure", spend)
    bench = measure.Bench(setup, advance=lambda: steps.append(1), on_skip=skipped.append)

    def noting(encode):
        def call(self, rgb):
            calls.append(self.name)
            return encode(self, rgb)

        return call

    for kind in (PsicCodec, PillowCodec):
        monkeypatch.setattr(kind, "encode", noting(kind.encode))
    first = bench.one_size(made_picture(0.002))
    assert calls[-8:] == ["psic", "psic-effort-0", "psic-effort-1", "jpeg"] * 2
    assert [row.name for row in first.rows] == ["psic", "psic-protected", "psic-effort-0", "psic-effort-1", "jpeg"]
    own, protected, *_, jpeg = first.rows
    assert own.encode is not None
    assert dataclasses.astuple(own.encode.ratio) == (1.0, 1.0, 1.0)
    assert (protected.encode, protected.encode_peak_bytes, protected.bpp) == (None, None, own.bpp)
    assert (protected.decode_peak_bytes, jpeg.encode_peak_bytes) == (1000, 1000)
    bench.one_size(made_picture(0.003))
    assert [one.reason for one in skipped] == ["takes longer than 60 s", "took too long on a smaller picture"]
    assert len(steps) == 2 * bench.steps_per_size

    results = Results({"processor": "x", "cores": 1, "threads": 1, "picture": "y"}, sizes=[first], skipped=skipped)
    assert json.loads(report.to_json(results))["sizes"][0]["rows"][4]["name"] == "jpeg"
    text = report.to_text(results)
    assert "left out: webp at 55 x 37: takes longer than 60 s" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_psic_is_encoded_at_several_efforts_and_decoded_in_full_and_protected(setup, monkeypatch):
    commands: list[list[str]] = []

    def spend(command, threads, limit_seconds=0.0):
        commands.append(command)
        return Spent(1.0, 1.0, 1000)

    monkeypatch.setattr(measure, "measure", spend)
    bench = measure.Bench(dataclasses.replace(setup, peers=[]))
    rgb = made_picture(0.002)
    assert len(bench.one_size(rgb).rows) == 4
    steps = [(command[2], "--condition" in command) for command in commands]
    assert steps == [("encode", True), ("decode", True), ("decode", False)] + 2 * [("encode", True), ("decode", True)]
    efforts = [command[command.index("--effort") + 1] for command in commands if command[2] == "encode"]
    assert efforts == [str(DEFAULT_EFFORT), "0", "1"]
    data, least = bench.psic.encode(rgb), bench.own["psic-effort-0"].encode(rgb)
    assert (bench.protected.decode(least) != bench.protected.decode(data)).any()
    expected = [codec.decode(data, bytes(32), version=v).rgb for v in (codec.Version.FULL, codec.Version.PROTECTED)]
    for contender, decoded in zip((bench.psic, bench.protected), expected, strict=True):
        assert (contender.decode(data) == decoded).all()


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif"])
def test_codecs_of_pillow_are_timed_in_the_settings_that_they_are_compared_in(name):
    rgb = made_picture(0.006)
    try:
        (peer,) = peers.find_peers(check_names([name]))
    except UsageError as error:
        pytest.skip(str(error))
    stream = io.BytesIO()
    settings = next(settings for settings in peer.settings if settings["quality"] == 50)
    Image.fromarray(rgb).save(stream, peer.format, **settings)
    assert PillowCodec(name, 50, 1).encode(rgb) == stream.getvalue()


def test_a_failure_of_psic_itself_is_not_passed_over(setup, monkeypatch):
    def fail(command, threads, limit_seconds=0.0):
        raise CommandFailed("psic: error: no")

    monkeypatch.setattr(measure, "measure", fail)
    with pytest.raises(CommandFailed):
        measure.Bench(setup).one_size(made_picture(0.002))


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_the_quality_is_chosen_for_files_as_large_as_psic_s(name):
    rgb = made_picture(0.02)
    sizes = [len(PillowCodec(name, quality, 1).encode(rgb)) for quality in range(1, 96)]
    chosen = quality_near(name, rgb, 2500, 1)
    assert abs(sizes[chosen - 1] - 2500) <= 1.05 * min(abs(size - 2500) for size in sizes) + 50
    assert quality_near(name, rgb, 1, 1) <= 3  # files of webp do not always grow with quality
    assert quality_near(name, rgb, 10**9, 1) == 95


def test_codecs_of_pillow_decode_what_they_encode():
    rgb = made_picture(0.006)
    for name in check_names(["jpeg", "webp", "jpeg"]):
        codec = PillowCodec(name, 90, 1)
        assert np.abs(codec.decode(codec.encode(rgb)).astype(int) - rgb).mean() < 10


def test_an_unknown_peer_is_refused():
    with pytest.raises(UsageError, match="unknown peer 'gif'"):
        check_names(["gif"])
