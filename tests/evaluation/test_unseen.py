import pytest
import torch

from psic_cli.errors import ModelError
from psic_cli.evaluation.classification import class_embeddings
from psic_cli.evaluation.unseen import load_classifier

timm = pytest.importorskip("timm")
SMALL = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network for three classes, with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "three.pth"
    network = timm.create_model(SMALL, num_classes=3)
    torch.save(network.state_dict(), path)
    return path, network.eval()


def test_a_checkpoint_gives_the_logits_of_its_network(checkpoint):
    path, network = checkpoint
    classifier = load_classifier(f"timm:{SMALL}:{path}")
    assert classifier.name == f"timm:{SMALL}:three"
    picture = torch.rand(1, 3, 256, 256)
    inner = (picture[..., 16:-16, 16:-16] - classifier.mean) / classifier.std
    with torch.no_grad():
        assert torch.allclose(classifier.encode_image(picture), network(inner), atol=1e-4)


def test_its_classes_are_its_outputs_and_any_size_is_seen(checkpoint):
    classifier = load_classifier(f"timm:{SMALL}:{checkpoint[0]}")
    assert torch.equal(class_embeddings(classifier, None), torch.eye(3))
    assert classifier.encode_image(torch.rand(2, 3, 40, 300)).shape == (2, 3)


def test_weights_that_cannot_be_fetched_are_one_clear_line(monkeypatch):
    def offline(*_, **__):
        raise OSError("no such host\nsecond line")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelError, match=f"the weights of timm:{SMALL} cannot be fetched") as error:
        load_classifier(f"timm:{SMALL}")
    assert f"timm:{SMALL}:FILE" in str(error.value.hint)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("resnet50", "unknown classifier 'resnet50'"),
        ("timm:", "unknown classifier"),
        ("timm:unheard_of", "timm has no model 'unheard_of'"),
        (f"timm:{SMALL}:missing.pth", "cannot read missing.pth"),
        (f"timm:{SMALL}:README.md", "README.md holds no weights of"),
    ],
)
def test_wrong_specs_are_one_clear_line(spec, words, tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("words")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as error:
        load_classifier(spec)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_network_is_refused(checkpoint):
    with pytest.raises(ModelError, match="holds no weights of timm:resnet18"):
        load_classifier(f"timm:resnet18:{checkpoint[0]}")
