"""What surrogates are told and how their losses come together."""

import pytest
import torch

from psic_cli.training import shield
from psic_cli.training.losses import recognition
from psic_cli.training.shield import Surrogates, shield_loss
from psic_cli.training.uaeo import uaeo_loss
from tests.training.models import CLASSES, SmallModel


@pytest.fixture
def surrogates(monkeypatch) -> Surrogates:
    monkeypatch.setattr(shield, "load_vlp", lambda spec, device: SmallModel(spec, with_classes=spec != "no"))
    monkeypatch.setattr(shield, "imagenet_classes", lambda: ("tench, Tinca tinca", "goldfish"))
    return Surrogates(["one", "three", "no"], "cpu")


def pictures(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))


def test_models_are_drawn_or_all_taken(surrogates):
    generator = torch.Generator().manual_seed(0)
    assert surrogates.draw(0, generator) == surrogates.models
    assert surrogates.draw(3, generator) == surrogates.models
    drawn = [surrogates.draw(2, generator) for _ in range(30)]
    assert {len({model.name for model in one}) for one in drawn} == {2}
    assert {model.name for one in drawn for model in one} == {"one", "three", "no"}


def test_a_picture_without_a_caption_shows_its_likeliest_class(surrogates):
    model = surrogates.models[0]
    originals = model.encode_image(pictures())
    found = surrogates.captions(model, originals, [None, "a dog", None, "a dog"])
    classes = model.class_text
    assert torch.equal(found[0], classes[(classes @ originals[0]).argmax()])
    assert torch.equal(found[1], SmallModel("one").encode_text(["a dog"])[0])
    assert torch.equal(found[1], found[3])
    assert len(classes) == CLASSES


def test_texts_are_read_once(surrogates):
    model = surrogates.models[0]
    originals = model.encode_image(pictures(2))
    surrogates.captions(model, originals, ["a dog", "a cat"])
    surrogates.captions(model, originals, ["a cow", "a cat"])
    assert model.read == ["a cat", "a dog", "a cow"]


def test_a_model_without_classes_reads_prompts(surrogates):
    model = surrogates.models[2]
    assert surrogates.classes(model).shape == (2, 16)
    assert surrogates.classes(model) is surrogates.classes(model)
    assert model.read == ["a photo of a tench", "a photo of a goldfish"]


def test_agreement_is_the_share_of_equal_classes(surrogates):
    model = surrogates.models[0]
    classes = model.class_text
    assert surrogates.agreement(model, classes[[0, 1, 2, 3]], classes[[0, 1, 2, 4]]) == 0.75


def test_the_loss_is_the_cosine_and_the_captions(surrogates):
    models = surrogates.models[:2]
    x, protected = pictures(), pictures() * 0.5
    originals = [model.encode_image(x) for model in models]
    captions = [surrogates.captions(m, o, ["a", "b", None, "d"]) for m, o in zip(models, originals, strict=True)]
    plain, cosine = shield_loss(models, protected, originals, None, 1.0)
    torch.testing.assert_close(cosine, recognition(models, protected, originals))
    torch.testing.assert_close(plain, 0.15 * torch.log1p(torch.exp(cosine / 0.15)))
    both, same = shield_loss(models, protected, originals, captions, 0.5)
    assert torch.equal(same, cosine)
    added = [uaeo_loss(m.encode_image(protected), o, c) for m, o, c in zip(models, originals, captions, strict=True)]
    torch.testing.assert_close(both, plain + 0.5 * (added[0] + added[1]) / 2)


def test_cosines_are_exact_under_autocast(surrogates):
    model = surrogates.models[0]
    originals = model.encode_image(pictures())
    captions = surrogates.captions(model, originals, ["a", "b", "c", "d"])
    exact = uaeo_loss(originals, originals, captions)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(uaeo_loss(originals, originals, captions), exact)
