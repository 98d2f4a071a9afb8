import pytest
import torch

from psic_cli.errors import InputError
from psic_cli.evaluation.classification import Answers, answer, check_classes, class_embeddings, summarise
from tests.evaluation.conftest import known


def test_answers_of_hand_made_embeddings():
    classes = torch.eye(3)
    pictures = torch.tensor([[0.9, 0.3, 0.1], [0.5, 0.4, 0.6]])
    answers = answer(pictures, classes, truth=torch.tensor([0, 1]))
    assert answers.rank.tolist() == [0, 2]
    assert answers.label.tolist() == [0, 2]


def test_equal_scores_are_no_success():
    assert answer(torch.ones(1, 3), torch.eye(3), torch.tensor([0])).rank.tolist() == [2]


def test_figures_by_hand():
    def answers(*pairs):
        return Answers(torch.tensor([rank for rank, _ in pairs]), torch.tensor([label for _, label in pairs]))

    original = answers((0, 1), (0, 2), (3, 9), (0, 4))
    full = answers((0, 1), (0, 2), (1, 8), (2, 7))
    protected = answers((6, 5), (0, 2), (4, 9), (0, 4))
    result = summarise("m", "protected", 50, protected, original, full)
    assert result.top1.value == 0.5
    assert result.top5.value == 0.75
    assert known(result.kept).value == pytest.approx(2 / 3)
    assert result.agreement.value == 0.75
    assert known(result.attack_success).value == 0.5  # two were right in full, one of them is wrong now
    assert summarise("m", "full", 50, full, original, None).attack_success is None


def test_classes_come_from_names_where_a_model_brings_none(colour_model):
    assert class_embeddings(colour_model, ["red, crimson", "blue"]).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(InputError, match="brings no classes"):
        class_embeddings(colour_model, None)


def test_a_model_may_bring_its_classes(colour_model):
    colour_model.class_text = torch.tensor([[3.0, 4.0]])
    assert class_embeddings(colour_model, None).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]


def test_a_label_beyond_the_classes_is_refused():
    with pytest.raises(InputError, match="class_index 3 is beyond the 3 classes of m"):
        check_classes([0, 3], torch.eye(3), "m")
