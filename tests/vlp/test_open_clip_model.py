"""Models of open_clip: a small one, saved here, named in every way that needs no network."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from psic_cli.errors import ModelError
from psic_cli.vlp.interface import load_vlp
from psic_cli.vlp.open_clip_model import OpenClipModel, _settings_of_file

open_clip = pytest.importorskip("open_clip")

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a small model in all forms: tiny-clip.pt, tiny-clip.safetensors, and a whole folder "whole"."""
    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "psic-tiny-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "psic-tiny-clip.json")
    torch.manual_seed(0)
    tensors = open_clip.create_model("psic-tiny-clip").state_dict()
    torch.save(tensors, folder / "tiny-clip.pt")
    save_file(tensors, folder / "tiny-clip.safetensors")
    (folder / "whole").mkdir()
    save_file(tensors, folder / "whole" / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}
    whole = {"model_cfg": CONFIG, "preprocess_cfg": preprocess}
    (folder / "whole" / "open_clip_config.json").write_text(json.dumps(whole))
    return folder


@pytest.fixture
def model(saved):
    return load_vlp(f"open_clip:psic-tiny-clip:{saved / 'tiny-clip.pt'}")


def picture(height, width):
    numbers = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(numbers).resize((width, height), Image.Resampling.BICUBIC)


def as_batch(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def test_embeddings_have_unit_length_and_gradients_reach_the_picture(model):
    pictures = torch.rand(2, 3, 40, 56, requires_grad=True)
    embedding = model.encode_image(pictures)
    texts = model.encode_text(["a red thing"] * 3 + ["a blue thing"])
    assert embedding.shape == (2, 16)
    assert texts.shape == (4, 16)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(texts.norm(dim=1), torch.ones(4), atol=1e-5)
    (embedding @ texts.T).sum().backward()
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_checkpoint_is_the_same_as_torch_file_as_safetensors_and_in_a_folder(saved, model):
    texts = model.encode_text(["one", "two"])
    for spec in (f"psic-tiny-clip:{saved / 'tiny-clip.safetensors'}", f"local-dir:{saved / 'whole'}"):
        assert torch.equal(load_vlp(f"open_clip:{spec}").encode_text(["one", "two"]), texts)
    assert model.name == "open_clip:psic-tiny-clip:tiny-clip"
    assert model.logit_scale == pytest.approx(1 / 0.07, rel=1e-3)


@pytest.mark.parametrize("size", [(40, 56), (71, 50), (32, 32), (20, 20), (33, 200)])
@pytest.mark.parametrize("spec", ["psic-tiny-clip:tiny-clip.pt", "local-dir:whole"])
def test_pictures_are_prepared_as_open_clip_prepares_files(saved, monkeypatch, spec, size):
    monkeypatch.chdir(saved)
    model = OpenClipModel(spec)
    config = open_clip.transform.PreprocessCfg(**model.preprocess)
    own = open_clip.transform.image_transform_v2(config, is_train=False)
    image = picture(*size)
    expected = own(image) * model.std + model.mean  # Pillow rounds to whole levels, and clips
    assert (model._fit(as_batch(image))[0].clamp(0, 1) - expected).abs().max() < 2.5 / 255


def test_a_local_file_is_prepared_for_as_the_tags_of_its_model_say(saved, monkeypatch):
    clip = {
        "mean": (0.48, 0.46, 0.41),
        "std": (0.27, 0.26, 0.28),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    siglip = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    tags = {"first": clip | {"quick_gelu": True}, "webli": siglip, "webli_2": siglip}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "psic-tiny-clip", tags)
    for name, expected in (("other.pt", siglip), ("webli.pt", siglip), ("first.pt", clip)):
        shutil.copy(saved / "tiny-clip.pt", saved / name)
        model = OpenClipModel(f"psic-tiny-clip:{saved / name}")
        assert {key: model.preprocess[key] for key in expected} == expected
        assert model.mean.flatten().tolist() == pytest.approx(expected["mean"])
        assert model.encode_image(torch.rand(1, 3, 40, 90)).shape == (1, 16)
        gelu = type(model.model.visual.transformer.resblocks[0].mlp.gelu).__name__
        assert gelu == ("QuickGELU" if name == "first.pt" else "GELU")


def test_files_of_every_siglip_are_squashed_and_those_of_every_openai_clip_are_not():
    for name in open_clip.list_models():
        settings = _settings_of_file(name, "weights")
        if "SigLIP" in name:
            assert (settings["resize_mode"], set(settings["mean"])) == ("squash", {0.5}), name
        elif "openai" in open_clip.list_pretrained_tags_by_model(name):
            assert settings["resize_mode"] == "shortest", name
            assert settings["mean"] == open_clip.OPENAI_DATASET_MEAN, name


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_every_size_is_fitted_as_open_clip_fits_it(model, mode):
    cfg = open_clip.transform.PreprocessCfg(size=32, mean=(0,) * 3, std=(1,) * 3, resize_mode=mode, fill_color=255)
    own = open_clip.transform.image_transform_v2(cfg, is_train=False)
    model.preprocess = dict(model.preprocess, resize_mode=mode, fill_color=255)
    for size in [(33, 47), (47, 90), (111, 37), (29, 31), (64, 99), (200, 35)]:
        image = picture(*size)
        fitted = model._fit(as_batch(image))[0].clamp(0, 1)
        assert (fitted - own(image)).abs().max() < 2.5 / 255, size


def test_the_longest_side_can_be_made_to_fit(model):
    model.preprocess = dict(model.preprocess, resize_mode="longest", fill_color=255)
    fitted = model._fit(torch.zeros(1, 3, 40, 80))
    assert fitted.shape == (1, 3, 32, 32)
    assert fitted[0, 0, :, 16].tolist() == [1.0] * 8 + [0.0] * 16 + [1.0] * 8


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("ViT-B-99:openai", "open_clip knows no model 'ViT-B-99'"),
        ("ViT-B-32:no-such-tag", "'no-such-tag' is neither a checkpoint file nor a tag of ViT-B-32"),
        ("ViT-B-32", "no weights named for ViT-B-32"),
        ("local-dir:missing", "cannot load open_clip:local-dir:missing"),
        ("ViT-B-32:noise.pt", "cannot load open_clip:ViT-B-32:noise.pt"),
        ("psic-tiny-clip:other.safetensors", "cannot load open_clip:psic-tiny-clip:other.safetensors"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_line_with_a_hint(saved, monkeypatch, rest, words, capfd):
    monkeypatch.chdir(saved)
    (saved / "noise.pt").write_bytes(b"noise")
    save_file({"visual.proj": torch.zeros(2, 2)}, saved / "other.safetensors")
    with pytest.raises(ModelError) as caught:
        load_vlp(f"open_clip:{rest}")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("rest", ["ViT-B-32:laion2b_s34b_b79k", "hf-hub:psic-nobody/nothing"])
def test_weights_that_cannot_be_fetched_are_one_clear_line_with_a_hint(tmp_path, monkeypatch, rest, capfd):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=f"cannot fetch open_clip:{rest}: ") as caught:
        load_vlp(f"open_clip:{rest}")
    assert "\n" not in str(caught.value)
    assert "connect to the network" in str(caught.value.hint)
    assert capfd.readouterr() == ("", "")
