"""UAEO by hand, its gradients, and its edges: no clean pair, no noisy pair, one pair, equal captions."""

import math

import pytest
import torch
from torch.nn import functional as F

from psic_cli.training.uaeo import is_clean, one_direction, opinion, soft_labels, uaeo_loss

DIAGONAL = torch.eye(3, dtype=torch.bool)


def units(*rows: list[float]) -> torch.Tensor:
    return F.normalize(torch.tensor(rows), dim=1)


def test_evidence_belief_and_uncertainty_by_hand():
    """S = atanh(0.1 ln e) makes whole numbers: evidence 4, 1, 2 -> strength 4 + 1 + 2 + 3 = 10 -> belief .4, .1, .2 and
    uncertainty 3 / 10.
    """
    similarity = torch.tensor([[math.atanh(0.1 * math.log(e)) for e in (4.0, 1.0, 2.0)]])
    found = opinion(similarity)
    torch.testing.assert_close(found.evidence, torch.tensor([[4.0, 1.0, 2.0]]))
    torch.testing.assert_close(found.belief, torch.tensor([[0.4, 0.1, 0.2]]))
    torch.testing.assert_close(found.uncertainty, torch.tensor([0.3]))
    torch.testing.assert_close(found.belief.sum(1) + found.uncertainty, torch.ones(1))


def test_the_raw_cosine_tells_a_match_from_a_mismatch():
    """Match 0.3, mismatch 0.1: tanh 0.2913 and 0.0997, so the evidence differs by exp(1.916) = 6.8; and with 15
    mismatches, u = 16 / (18.4 + 15 * 2.71 + 16) = 0.213.
    """
    found = opinion(torch.tensor([[0.3] + [0.1] * 15]))
    assert float(found.evidence[0, 0] / found.evidence[0, 1]) == pytest.approx(6.8, abs=0.05)
    assert float(found.uncertainty) == pytest.approx(0.213, abs=0.001)


def test_soft_labels_by_hand():
    """Query 0 with evidence 4, 1, 2; uncertainties .5, .2, .8; its own partner is 0:
    weights 0, .2 / 1 = .2, .8 / 2 = .4 -> 0, 1/3, 2/3.
    """
    evidence = torch.tensor([[4.0, 1.0, 2.0], [1.0, 9.0, 1.0], [3.0, 3.0, 3.0]])
    found = soft_labels(evidence, torch.tensor([0.5, 0.2, 0.8]), DIAGONAL)
    expected = [[0, 1 / 3, 2 / 3], [5 / 13, 0, 8 / 13], [5 / 7, 2 / 7, 0]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_no_label_goes_to_a_partner_that_says_the_same():
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.bool)
    found = soft_labels(torch.ones(3, 3), torch.ones(3), same)
    assert found.tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_clean_queries_find_a_right_partner_first():
    similarity = torch.tensor([[0.3, 0.2, 0.1], [0.3, 0.2, 0.1], [0.1, 0.3, 0.2]])
    assert is_clean(similarity, DIAGONAL).tolist() == [True, False, False]
    same = DIAGONAL.clone()
    same[1, 0] = True
    assert is_clean(similarity, same).tolist() == [True, True, False]


def test_one_direction_by_hand():
    """Row 0 is clean: its cosine, 0.3. Row 1 is noisy: softmax of (0, 0.1 ln 2, 0.1 ln 5) / 0.1 is (1, 2, 5) / 8; with
    labels (1/2, 0, 1/2): 0.05 * -(ln(1/8) + ln(5/8)) / 2 = 0.05 * (2.0794 + 0.4700) / 2 = 0.063737.
    """
    similarity = torch.tensor([[0.3, 0.1, 0.1], [0.0, 0.1 * math.log(2), 0.1 * math.log(5)], [0.0, 0.0, 0.1]])
    labels = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    found = one_direction(similarity, labels, DIAGONAL)
    assert found.tolist() == pytest.approx([0.3, 0.063737, 0.1], abs=1e-5)


def test_both_directions_are_kept_apart():
    """Picture 1 looks like picture 0: as queries, picture 0 and caption 0 are clean; picture 1 takes caption 0 for its
    own, so it is noisy, while caption 1 still finds picture 1 first.

    Cosines: picture 0 (1, 0), picture 1 (.8, .6); captions (1, 0), (0, 1): S = [[1, 0], [.8, .6]]. With two pairs the
    wrong partner is the label. Picture 1: 0.05 * -(8 - ln(e^8 + e^6)) = 0.05 * 0.126928 = 0.0063464; caption 0:
    clean, 1; caption 1: clean, .6.
    """
    pictures, captions = units([1.0, 0.0], [0.8, 0.6]), units([1.0, 0.0], [0.0, 1.0])
    found = uaeo_loss(pictures, pictures, captions)
    assert found.tolist() == pytest.approx([0.5 * (1 + 1), 0.5 * (0.0063464 + 0.6)], abs=1e-5)


def moved(pictures: torch.Tensor, originals: torch.Tensor, captions: torch.Tensor, steps: int) -> torch.Tensor:
    """Pictures after a descent of the loss."""
    for _ in range(steps):
        free = pictures.clone().requires_grad_(True)
        uaeo_loss(F.normalize(free, dim=1), originals, captions).sum().backward()
        assert free.grad is not None
        pictures = F.normalize(pictures - 0.05 * free.grad, dim=1)
    return pictures


def test_the_loss_leads_away_from_the_own_caption():
    torch.manual_seed(0)
    captions = F.normalize(torch.randn(6, 16), dim=1)
    originals = F.normalize(captions + 0.1 * torch.randn(6, 16), dim=1)
    before, after = (originals @ captions.T), moved(originals, originals, captions, 100) @ captions.T
    assert is_clean(before, torch.eye(6, dtype=torch.bool)).all()
    assert not is_clean(after, torch.eye(6, dtype=torch.bool)).any()
    assert not is_clean(after.T, torch.eye(6, dtype=torch.bool)).any()


def test_a_noisy_picture_is_drawn_to_where_the_model_had_least_evidence():
    originals = units([1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    captions = torch.eye(3)
    protected = units([0.1, 1.0, 0.9], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]).requires_grad_(True)
    uaeo_loss(protected, originals, captions)[0].backward()
    assert protected.grad is not None
    gradient = protected.grad[0]
    assert gradient[2] < 0  # to caption 2, for which the original had no evidence
    assert gradient[2] < gradient[1]


def check_finite(protected: torch.Tensor, originals: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
    protected = protected.clone().requires_grad_(True)
    found = uaeo_loss(protected, originals, captions)
    found.sum().backward()
    assert found.isfinite().all()
    assert protected.grad is not None
    assert protected.grad.isfinite().all()
    return found.detach()


def test_all_pairs_may_be_clean_or_noisy():
    captions = torch.eye(4)
    assert (check_finite(captions, captions, captions) == 1.0).all()  # clean: the cosine itself
    check_finite(captions.roll(1, 0), captions, captions)


def test_a_batch_of_one_is_its_cosine():
    """One pair always finds itself: there is nobody else to be taken for."""
    one, caption = units([0.6, 0.8]), units([1.0, 0.0])
    assert check_finite(one, one, caption).tolist() == pytest.approx([0.6])


def test_equal_captions_are_no_wrong_partners():
    """Two pictures of the same class are clean with either's caption; all four cosines are theirs."""
    pictures = units([1.0, 0.0], [0.8, 0.6])
    captions = units([1.0, 0.0], [1.0, 0.0])
    assert check_finite(pictures, pictures, captions).tolist() == pytest.approx([1.0, 0.8])


def test_bfloat16_embeddings_are_taken():
    captions = torch.eye(3).bfloat16()
    assert uaeo_loss(captions, captions, captions).dtype == torch.float32
