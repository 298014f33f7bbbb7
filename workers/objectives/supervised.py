"""Class-weighted cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

# Effective number of samples: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
EFFECTIVE_BETA = 0.999
MAX_WEIGHT_RATIO = 20.0


def class_weights(counts: Sequence[int]) -> Tensor:
    """(k,) weights by effective number of samples, mean 1 over the samples; a class without samples gets 1."""
    seen = torch.tensor([max(count, 0) for count in counts], dtype=torch.float64)
    present = seen > 0
    if not present.any():
        return torch.ones(len(counts))
    effective = (1.0 - EFFECTIVE_BETA**seen) / (1.0 - EFFECTIVE_BETA)
    weights = torch.where(present, 1.0 / effective.clamp(min=1.0), torch.zeros_like(effective))
    floor = weights.max() / MAX_WEIGHT_RATIO
    weights = torch.where(present, weights.clamp(min=float(floor)), weights)
    mean = (weights * seen).sum() / seen.sum()
    return torch.where(present, weights / mean, torch.ones_like(weights)).float()


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean over the batch of weights[y] * -log p(y): logits (n, k), labels (n,), weights (k,) -> scalar."""
    losses = functional.cross_entropy(logits, labels, reduction="none")
    return (weights[labels] * losses).mean()
