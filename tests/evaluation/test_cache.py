import subprocess
import sys

import pytest
import torch

from psic_cli.evaluation import cache, coding, rate_distortion, seeing
from psic_cli.evaluation.cache import Cache, Entry, picture_hash, weights_hash
from tests.cli.run import ROOT
from tests.evaluation.conftest import known, picture
from tests.evaluation.test_shielding import experiment

KEY = {"what": "test", "quality": 50}


class CountingModel(torch.nn.Module):
    """Sees the mean colour, and counts the pictures."""

    def __init__(self):
        super().__init__()
        self.name = "counting"
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.pictures = 0

    def encode_image(self, pictures):
        self.pictures += len(pictures)
        return pictures.mean((2, 3)) * self.scale


@pytest.fixture
def entries(tmp_path):
    kept = Cache(tmp_path / "kept")
    kept.write(KEY, Entry({"bpp": 0.1, "none": None}, {"seen": torch.tensor([1 / 3, -2.0])}))
    return kept


def files(kept):
    return [path for path in kept.folder.rglob("*") if path.is_file()]


def test_an_entry_comes_back_as_it_was(entries):
    found = known(Cache(entries.folder).read(KEY))
    assert found.figures == {"bpp": 0.1, "none": None}
    assert torch.equal(found.tensors["seen"], torch.tensor([1 / 3, -2.0]))


def test_another_option_or_another_version_of_the_software_is_another_entry(entries, monkeypatch):
    assert entries.read({**KEY, "quality": 51}) is None
    monkeypatch.setattr(cache, "software", lambda: {"psic": "0.0.0"})
    assert entries.read(KEY) is None


@pytest.mark.parametrize("position", [0, 40, -1])
def test_an_entry_with_one_changed_byte_counts_as_missing(entries, position):
    (path,) = files(entries)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    assert entries.read(KEY) is None


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 500])
def test_an_entry_that_is_something_else_counts_as_missing_and_is_replaced(entries, content):
    (path,) = files(entries)
    path.write_bytes(content)
    assert entries.read(KEY) is None
    entries.write(KEY, Entry({"bpp": 0.2}))
    assert known(entries.read(KEY)).figures == {"bpp": 0.2}


def test_an_entry_under_another_ones_name_counts_as_missing(entries):
    (path,) = files(entries)
    entries.write({**KEY, "quality": 51}, Entry({"bpp": 9.9}))
    (other,) = set(files(entries)) - {path}
    path.write_bytes(other.read_bytes())
    assert entries.read(KEY) is None


def test_removing_leaves_what_is_not_ours(entries):
    (entries.folder / "notes.txt").write_text("mine")
    entries.remove()
    assert [path.name for path in files(entries)] == ["notes.txt"]
    (entries.folder / "notes.txt").unlink()
    entries.remove()
    assert not entries.folder.exists()


def test_without_a_folder_nothing_is_kept():
    nothing = Cache()
    nothing.write(KEY, Entry())
    assert nothing.read(KEY) is None
    nothing.remove()


def test_a_picture_is_known_by_its_pixels_and_its_shape():
    rgb = picture()
    assert picture_hash(rgb) == picture_hash(rgb.copy())
    changed = rgb.copy()
    changed[3, 4, 1] ^= 1
    assert len({picture_hash(rgb), picture_hash(changed), picture_hash(rgb.reshape(48, 32, 3))}) == 3


def test_models_are_known_by_their_weights():
    one, other = CountingModel(), CountingModel()
    assert weights_hash(one) == weights_hash(other)
    other.scale.data[1] = 2
    assert weights_hash(one) != weights_hash(other)
    assert weights_hash(object()) is None


def test_rate_and_quality_are_measured_once(tmp_path, tiny_model, monkeypatch):
    kept = Cache(tmp_path)
    first = rate_distortion.measure("a", picture(), tiny_model, [20, 80], kept)
    monkeypatch.setattr(rate_distortion, "code", None)
    assert rate_distortion.measure("a", picture(), tiny_model, [20, 80], kept) == first


def test_what_was_seen_is_not_looked_at_again_and_new_attacks_are_added(tmp_path, tiny_model, monkeypatch):
    def look(attack_names, model):
        asked = experiment(tiny_model, model, attack_names=attack_names)
        return seeing.look(picture(), seeing.Experiment(tiny_model, [60], asked.seers, asked.attacks, Cache(tmp_path)))

    model = CountingModel()
    first = look("blur", model)
    once = 2 + len(seeing.VERSIONS) + 1 + len(seeing.ASKED)  # two originals; the blurred protected version
    assert model.pictures == once
    second = look("blur,noise", model)
    assert model.pictures == once + 2
    for shown, embedding in first.embeddings["counting"].items():
        assert torch.equal(embedding, second.embeddings["counting"][shown])
    monkeypatch.setattr(coding, "encode", None)
    monkeypatch.setattr(coding, "decode", None)
    again = look("noise", model)
    assert model.pictures == once + 2
    assert (again.psnr, again.bpp) == (first.psnr, first.bpp)


def test_a_model_without_weights_is_never_taken_from_the_cache(tmp_path, tiny_model, colour_model):
    asked = seeing.Experiment(tiny_model, [60], {"colours": colour_model}, (), Cache(tmp_path))
    seeing.look(picture(), asked)
    colour_model.encode_image = lambda pictures: torch.full((len(pictures), 3), 7.0)
    again = seeing.look(picture(), asked)
    assert again.embeddings["colours"][seeing.UNTOUCHED].tolist() == [7, 7, 7]


def test_all_that_encoding_computes_with_counts_as_what_figures_come_from():
    about_files = ("errors", "icc", "keys", "kept", "packages", "picture", "runtime", "shell", "torch_first", "zoo")
    imports = "import sys, psic_cli.codec, psic_cli.vlp.witness, psic_cli.backbones.architectures"
    loaded = f"{imports}; print(*(m for m in sys.modules if 'psic_cli.' in m))"
    names = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    counted = {".".join(path.with_suffix("").parts[-2:]) for path in cache.sources()}
    computing = [name.split(".")[1:] for name in names if name.split(".")[1] not in about_files]
    assert len(computing) > 20
    for parts in computing:
        package = ROOT.joinpath("psic_cli", *parts)
        assert package.is_dir() or ".".join(package.parts[-2:]) in counted, parts
