"""The four losses of MoE-Sim-VAE as pure functions of tensors.

N is the number of cells in the batch, D of markers, L the code size, K the number of experts. Equation numbers are the
paper's.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

# Keeps logarithms finite where probabilities reach 0 or 1 in float32.
_EPS = 1e-6


def reconstruction_loss(scaled: Tensor, logits: Tensor) -> Tensor:
    """Binary cross-entropy between the markers and their reconstruction (eq. 4, both terms), mean over N x D.

    Parameters
    ----------
    scaled
        Marker values in [0, 1], shape (N, D).
    logits
        Output of each cell's expert before the sigmoid, shape (N, D).
    """
    return F.binary_cross_entropy_with_logits(logits, scaled)


def kl_loss(codes: Tensor, experts: Tensor, n_experts: int) -> Tensor:
    """Divergence of each cluster's codes from a Gaussian of unit variance around its centre (eq. 3).

    ``0.5 * (sum_d s_kd - L - sum_d log s_kd)`` with ``s_kd`` the variance of code dimension d in cluster k, averaged
    over the clusters with at least two cells. A cluster with fewer contributes nothing; if none has two, the loss is 0.

    Parameters
    ----------
    codes
        Shape (N, L).
    experts
        Index of each cell's expert, int64, shape (N,).
    n_experts
        K.
    """
    members = F.one_hot(experts, n_experts).to(codes.dtype)  # (N, K)
    counts = members.sum(0)  # (K,)
    per_cell = members / counts.clamp(min=1)
    centres = per_cell.T @ codes  # (K, L)
    variances = per_cell.T @ (codes - centres[experts]).square()  # (K, L)
    filled = counts > 1
    variances = torch.where(filled[:, None], variances, 1.0).clamp(min=_EPS)
    divergences = 0.5 * (variances - 1 - variances.log()).sum(1)  # 0 where the variance was set to 1
    return divergences.sum() / filled.sum().clamp(min=1)


class _SimilarityLoss(torch.autograd.Function):
    """Similarity loss with its gradient in closed form, without logarithms: dL/dP = 2/N^2 (A - S)/(A (1 - A)) P."""

    @staticmethod
    def forward(ctx: Any, similarity: Tensor, probabilities: Tensor) -> Tensor:
        agreement = (probabilities @ probabilities.mT).clamp(_EPS, 1 - _EPS)
        ctx.save_for_backward(similarity, probabilities, agreement)
        return -((1 - agreement).log() + similarity * torch.logit(agreement)).mean((-2, -1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        similarity, probabilities, agreement = ctx.saved_tensors
        by_pair = (agreement - similarity) / (agreement * (1 - agreement))
        n_pairs = by_pair.shape[-1] * by_pair.shape[-2]
        return None, (gradients[0] * 2 / n_pairs)[..., None, None] * (by_pair @ probabilities)


def similarity_loss(similarity: Tensor, probabilities: Tensor) -> Tensor:
    """Binary cross-entropy between S and P P^T (eq. 7, both terms), mean over the N x N pairs.

    Parameters
    ----------
    similarity
        S in [0, 1], symmetric, shape (N, N). It gets no gradient.
    probabilities
        P, rows summing to 1, shape (N, K). Both may have a first dimension more, of models; then so has the loss.
    """
    return cast(Tensor, _SimilarityLoss.apply(similarity, probabilities))


def depict_target(probabilities: Tensor) -> Tensor:
    """Sharpened, size-balanced assignment q (eq. 9), shape (N, K), without gradient."""
    clean = probabilities.detach()
    weighted = clean / clean.sum(0).clamp(min=_EPS).sqrt()
    return weighted / weighted.sum(1, keepdim=True)


def depict_loss(probabilities: Tensor, noisy_probabilities: Tensor) -> Tensor:
    """Cross-entropy of the target made from P against the probabilities under dropout (eq. 8), mean over cells."""
    target = depict_target(probabilities)
    return -(target * noisy_probabilities.clamp(min=_EPS).log()).sum(1).mean()
