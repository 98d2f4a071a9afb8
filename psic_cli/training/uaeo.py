"""Uncertainty-Aware Encryption-Oriented optimisation (UAEO): what a protected picture is pushed from, and pulled to.

After PSIC (ICML 2025, arXiv 2506.15201), section 3; evidence and uncertainty are those of deep evidential cross-modal
learning (DECL, Qin et al., ACM MM 2022). Pure functions on cosines: `uaeo_loss` is the sum of the others.

In a batch of K pairs of a picture and a caption, S_ij is the cosine of picture i and caption j.

    evidence      e_ij = exp(tanh(S_ij) / tau)         strength   L_i = sum_j (e_ij + 1)
    belief        b_ij = e_ij / L_i                    uncertainty  u_i = K / L_i

Both directions have their own: picture to text reads S by rows, text to picture by columns. S is the raw cosine; scaled
by a model's temperature it would saturate tanh, and all evidence would be alike.

A pair that is still retrieved (its own partner has the largest cosine) is *clean*: its cosine is minimised. One that is
not is *noisy*: it is drawn to wrong partners, by cross-entropy with soft labels over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TEMPERATURE = 0.1  # tau, of evidence and of the cross-entropy
CLEAN_WEIGHT, NOISY_WEIGHT = 1.0, 0.05  # 20 : 1, as in the authors' release
EQUAL = 0.999  # captions whose cosine is above it say the same


@dataclass(frozen=True)
class Opinion:
    """What a model thinks of each query's partners: K queries, N partners."""

    evidence: Tensor  # [K, N], above 0
    belief: Tensor  # [K, N]; a row's beliefs and its uncertainty add up to 1
    uncertainty: Tensor  # [K], 0..1


def opinion(similarity: Tensor, temperature: float = TEMPERATURE) -> Opinion:
    """Dirichlet opinion of each row of cosines [K, N]."""
    evidence = torch.exp(torch.tanh(similarity) / temperature)
    strength = (evidence + 1).sum(1)
    return Opinion(evidence, evidence / strength[:, None], similarity.shape[1] / strength)


def soft_labels(evidence: Tensor, partner_uncertainty: Tensor, same: Tensor) -> Tensor:
    """Where to draw a query: to partners with little evidence for it that are themselves uncertain.

        q_ij = (u_j / e_ij) / sum over wrong partners k of (u_k / e_ik),    0 for partners that are right

    evidence: [K, N]. partner_uncertainty: [N], of the partners' own opinions of the queries. same: bool [K, N], which
    partners are right. Returns [K, N]; rows add up to 1, or are 0 where no partner is wrong.
    """
    weight = (partner_uncertainty / evidence).masked_fill(same, 0.0)
    return weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)


def is_clean(similarity: Tensor, same: Tensor) -> Tensor:
    """Which queries still find a right partner first: bool [K]. similarity, same: [K, N]."""
    return same.gather(1, similarity.argmax(1, keepdim=True))[:, 0]


def one_direction(similarity: Tensor, labels: Tensor, same: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Loss of each query, [K]: the cosine of a clean one, cross-entropy with its soft labels of a noisy one.

    similarity: [K, K], of the protected pictures. labels, same: [K, K]. Each query has one of the two terms, so neither
    set can be empty in a way that matters.
    """
    cross_entropy = -(labels * torch.log_softmax(similarity / temperature, dim=1)).sum(1)
    return torch.where(is_clean(similarity, same), CLEAN_WEIGHT * similarity.diagonal(), NOISY_WEIGHT * cross_entropy)


def uaeo_loss(protected: Tensor, originals: Tensor, captions: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """UAEO of a batch in both directions: [K], to be minimised; the mean of a picture's and of its caption's loss.

    protected, originals, captions: unit vectors [K, D] of one model. What a picture is drawn to follows from the
    model's opinion of the original; from the protected picture it would change as soon as the picture gets there.
    """
    with torch.autocast(protected.device.type, enabled=False):  # bfloat16 knows cosines to a hundredth at best
        return _uaeo_loss(protected.float(), originals.float(), captions.float(), temperature)


def _uaeo_loss(protected: Tensor, originals: Tensor, captions: Tensor, temperature: float) -> Tensor:
    same = captions @ captions.T > EQUAL
    same.fill_diagonal_(True)  # whatever rounding does
    with torch.no_grad():
        to_text = opinion(originals @ captions.T, temperature)
        to_picture = opinion(captions @ originals.T, temperature)
        text_labels = soft_labels(to_text.evidence, to_picture.uncertainty, same)
        picture_labels = soft_labels(to_picture.evidence, to_text.uncertainty, same.T)
    similarity = protected @ captions.T
    return 0.5 * (
        one_direction(similarity, text_labels, same, temperature)
        + one_direction(similarity.T, picture_labels, same.T, temperature)
    )
