import json

import pytest

from psic_cli.errors import InputError
from psic_cli.evaluation import peers, report, runs, sources
from psic_cli.evaluation.metrics import psnr
from tests.evaluation.conftest import known, picture, save

QUALITIES = [20, 80]


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "b.png", picture(1))
    save(tmp_path / "deeper" / "a.png", picture(2, width=40))
    save(tmp_path / ".hidden" / "c.png", picture(3))
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_pictures_are_found_below_a_folder_hidden_ones_left_out(folder):
    assert [path.name for path in sources.find_pictures(folder)] == ["b.png", "a.png"]


def test_rate_and_quality_are_those_of_real_files(folder, tiny_model):
    from psic_cli import codec
    from psic_cli.evaluation.coding import SECRET
    from psic_cli.picture import Picture

    paths = sources.find_pictures(folder)
    result = runs.measure_rate_distortion(paths, folder, tiny_model, QUALITIES)
    assert [(row.picture, row.quality) for row in result.pictures] == [
        (name, quality) for name in ("b.png", "deeper/a.png") for quality in QUALITIES
    ]
    rgb = picture(1)
    data = codec.encode(Picture(rgb), SECRET, model=tiny_model, quality=80)
    row = result.pictures[1]
    assert row.bpp == 8 * len(data) / (48 * 32)
    for version in (codec.Version.FULL, codec.Version.PROTECTED):
        decoded = codec.decode(data, SECRET, version=version).rgb
        assert row.psnr[version.value] == psnr(rgb, decoded)
    assert row.ms_ssim == {"full": None, "protected": None}
    low, high = result.summaries
    assert low.bpp.value < high.bpp.value
    assert low.psnr["full"].value < high.psnr["full"].value
    assert low.pictures == 2


def test_peers_are_measured_on_the_same_pictures(folder, tiny_model):
    paths = sources.find_pictures(folder)
    jpeg = peers.find_peers(["jpeg"])
    result = runs.measure_rate_distortion(paths, folder, tiny_model, QUALITIES, jpeg)
    curve = [summary.psnr.value for summary in result.peers]
    assert len(curve) == len(jpeg[0].settings)
    assert curve == sorted(curve)
    assert any("24 Kodak pictures" in note for note in result.notes)
    compared = [rate.anchor for rate in result.bd_rates]
    assert compared == ["jpeg"] or any("against jpeg" in note for note in result.notes)


def test_the_kodak_pictures_are_compared_with_published_curves(tmp_path, tiny_model):
    pytest.importorskip("bjontegaard")
    for number in range(1, 25):
        save(tmp_path / f"kodim{number:02d}.png", picture(number, width=16, height=16))
    result = runs.measure_rate_distortion(sources.find_pictures(tmp_path), tmp_path, tiny_model, [1, 100])
    assert any(note.startswith("published curves: ") for note in result.notes)
    said = [rate.anchor for rate in result.bd_rates] + result.notes
    assert any("VTM (published)" in words for words in said)


def test_a_damaged_picture_is_reported_and_left_out(folder, tiny_model):
    (folder / "broken.png").write_bytes((folder / "b.png").read_bytes()[:90])
    failures: list[InputError] = []
    steps: list[int] = []
    watch = runs.Watch(lambda: steps.append(1), failures.append)
    paths = sources.find_pictures(folder)
    result = runs.measure_rate_distortion(paths, folder, tiny_model, [50], watch=watch)
    assert result.summaries[0].pictures == 2
    assert len(steps) == 3
    (failure,) = failures
    assert "broken.png" in str(failure)


def test_nothing_but_damaged_pictures_is_an_error(tmp_path, tiny_model):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="none of 1 pictures could be measured"):
        runs.measure_rate_distortion([tmp_path / "broken.png"], tmp_path, tiny_model, [50])


def test_classification_of_the_original_and_of_all_versions(coloured, tiny_model, colour_model):
    labels = sources.read_labels(coloured / "labels.csv")
    names = sources.read_class_names(coloured / "labels.csv")
    result = runs.measure_classification(labels, names, tiny_model, [60], {"colours": colour_model})
    by_version = {row.version: row for row in result.zero_shot}
    assert list(by_version) == ["original", "protected", "full", "machine", "forced"]
    assert by_version["original"].top1.value == known(by_version["original"].kept).value == 1
    assert by_version["full"].top1.value == 1  # a block transform keeps the mean colour
    assert by_version["full"].attack_success is None
    assert known(by_version["protected"].attack_success).value == pytest.approx(1 - by_version["protected"].top1.value)
    assert [row.version for row in result.versions] == ["protected", "full", "machine", "forced"]
    quality = {row.version: row.psnr.value for row in result.versions}
    assert quality["forced"] < quality["full"]


def test_a_picture_that_fails_takes_its_label_and_captions_along(coloured, tiny_model, colour_model):
    (coloured / "green.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    labels = sources.read_labels(coloured / "labels.csv")
    zero_shot = runs.measure_classification(
        labels, ["red", "green", "blue", "grey"], tiny_model, [60], {"colours": colour_model}
    ).zero_shot
    assert zero_shot[0].pictures == 3
    assert zero_shot[0].top1.value == 1
    captioned = sources.read_captions(coloured / "captions.jsonl", "test")
    found = runs.measure_retrieval(captioned, tiny_model, [60], {"colours": colour_model}).retrieval
    assert (found[0].pictures, found[0].captions) == (3, 6)
    assert found[0].image_to_text["r1"].value == found[0].text_to_image["r1"].value == 1


def test_results_are_json_and_tables(coloured, tiny_model, colour_model):
    labels = sources.read_labels(coloured / "labels.csv")
    captioned = sources.read_captions(coloured / "captions.jsonl", "test")
    vlps = {"colours": colour_model}
    paths = sources.find_pictures(coloured)
    results = report.Results(
        about={"model": "tiny"},
        rate_distortion=runs.measure_rate_distortion(paths, coloured, tiny_model, [60]),
        classification=runs.measure_classification(labels, ["red", "green", "blue", "grey"], tiny_model, [60], vlps),
        retrieval=runs.measure_retrieval(captioned, tiny_model, [60], vlps),
    )
    data = json.loads(report.to_json(results))
    assert data["classification"]["zero_shot"][0]["top1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert data["rate_distortion"]["pictures"][0]["ms_ssim"]["full"] is None
    text = report.to_text(results)
    for words in ("Rate and quality, 4 pictures", "Zero-shot classification by colours", "8 captions", "forced"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 120
