import pytest
import torch

from psic_cli.evaluation.retrieval import Ranks, rank, summarise
from tests.evaluation.conftest import known


def test_ranks_of_a_hand_made_similarity_matrix():
    # two pictures; captions 0 and 1 belong to picture 0, caption 2 to picture 1
    similarity = torch.tensor([[0.9, 0.1, 0.8], [0.2, 0.7, 0.6]])
    ranks = rank(similarity, torch.tensor([0, 0, 1]))
    assert ranks.pictures.tolist() == [0, 1]  # picture 1 likes caption 1 better than its own
    assert ranks.captions.tolist() == [0, 1, 1]


def test_a_model_that_sees_everything_alike_finds_nothing():
    ranks = rank(torch.full((3, 3), 0.5), torch.arange(3))
    assert ranks.pictures.tolist() == ranks.captions.tolist() == [2, 2, 2]


def test_recalls_and_attack_success_by_hand():
    owner = torch.tensor([0, 0, 1, 1])
    full = Ranks(pictures=torch.tensor([0, 0]), captions=torch.tensor([0, 0, 0, 7]))
    shielded = Ranks(pictures=torch.tensor([4, 0]), captions=torch.tensor([1, 0, 12, 0]))
    result = summarise("m", "protected", 50, shielded, owner, full)
    assert {depth: figure.value for depth, figure in result.image_to_text.items()} == {"r1": 0.5, "r5": 1, "r10": 1}
    assert {depth: figure.value for depth, figure in result.text_to_image.items()} == {
        "r1": 0.5,
        "r5": 0.75,
        "r10": 0.75,
    }
    assert known(result.attack_success_image_to_text).value == 0.5
    assert known(result.attack_success_text_to_image).value == pytest.approx(2 / 3)  # caption 3 was wrong already


def test_where_nothing_was_found_before_there_is_no_attack_success():
    lost = Ranks(pictures=torch.tensor([1, 1]), captions=torch.tensor([1, 1]))
    result = summarise("m", "protected", 50, lost, torch.arange(2), lost)
    assert result.attack_success_image_to_text is None
    assert result.attack_success_text_to_image is None


def test_the_original_is_no_attack():
    found = Ranks(pictures=torch.tensor([0, 1]), captions=torch.tensor([0, 1]))
    assert summarise("m", "original", None, found, torch.arange(2), None).attack_success_image_to_text is None
