import threading

import pytest
import torch

from psic_cli.errors import InputError
from psic_cli.evaluation import peers, runs, sources
from psic_cli.evaluation.cache import Cache
from psic_cli.evaluation.metrics import psnr
from tests.evaluation.conftest import picture, save
from tests.threads import torch_threads

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
    steps: list[bool] = []
    watch = runs.Watch(steps.append, failures.append)
    paths = sources.find_pictures(folder)
    result = runs.measure_rate_distortion(paths, folder, tiny_model, [50], watch=watch)
    assert result.summaries[0].pictures == 2
    assert steps == [True, False, True]  # whether a picture took any work
    (failure,) = failures
    assert "broken.png" in str(failure)


def test_nothing_but_damaged_pictures_is_an_error(tmp_path, tiny_model):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="none of 1 pictures could be measured"):
        runs.measure_rate_distortion([tmp_path / "broken.png"], tmp_path, tiny_model, [50])


def test_pictures_in_work_at_the_same_time_come_back_in_order_each_with_its_failure_and_what_it_took(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number in (0, 1, 3):
        save(paths[number], picture(number, width=16))
    steps: list[bool] = []
    failures: list[InputError] = []
    both, cache = threading.Barrier(2), Cache(tmp_path / "cache")

    def work(number, rgb):
        if number < 2:
            both.wait(20)  # neither goes on before the other has begun
        if number != 1:
            cache.read({"what": number})
        return rgb.shape[1], number

    with torch_threads(2):
        found = runs.each(paths, work, runs.Watch(steps.append, failures.append), cache, at_once=2)
    assert list(found.items()) == [(0, (16, 0)), (1, (16, 1)), (3, (16, 3))]
    assert steps == [True, False, False, True]
    assert ["2.png" in str(failure) for failure in failures] == [True]


def test_a_picture_that_is_alone_has_all_threads(tmp_path):
    save(tmp_path / "alone.png", picture(1, width=16))
    with torch_threads(3):
        found = runs.each(
            [tmp_path / "alone.png"], lambda *_: torch.get_num_threads(), runs.Watch(), Cache(), at_once=3
        )
    assert found == {0: 3}
