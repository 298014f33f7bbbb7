"""Cross-entropy that rare classes do not drown in: weighted by class, or with adjusted logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# Effective number of samples: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
EFFECTIVE_BETA = 0.999
MAX_WEIGHT_RATIO = 20.0
# Beyond this many rows of the commonest class for one of the rarest, weights would make single rows count too much.
ADJUST_BEYOND = 10.0


@dataclass(frozen=True, eq=False)
class Balance:
    """How classes are balanced: (k,) weights of the rows' losses, and (k,) what is added to the logits in training."""

    name: str
    weights: Tensor
    shift: Tensor

    def to(self, device: torch.device) -> Balance:
        return Balance(self.name, self.weights.to(device), self.shift.to(device))


def class_balance(counts: Sequence[int]) -> Balance:
    """Effective-number weights, or logit adjustment where present classes are more than 10:1 apart."""
    present = [count for count in counts if count > 0]
    if present and max(present) > ADJUST_BEYOND * min(present):
        return Balance("logit adjustment", torch.ones(len(counts)), log_prior(counts))
    return Balance("effective number", class_weights(counts), torch.zeros(len(counts)))


def log_prior(counts: Sequence[int]) -> Tensor:
    """(k,) log class shares, with one row more of every class: one without rows would be minus infinity.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021 (arXiv 2007.07314), equation 10 with
    tau = 1: a softmax of z + log pi is fitted, and z answers; its argmax is best for balanced accuracy.
    """
    rows = torch.tensor([max(count, 0) + 1 for count in counts], dtype=torch.float64)
    return (rows / rows.sum()).log().float()


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


def cross_entropy(logits: Tensor, labels: Tensor, balance: Balance) -> Tensor:
    """Mean over the batch of weights[y] * -log softmax(z + shift)[y]: logits z (n, k), labels (n,) -> scalar."""
    losses = functional.cross_entropy(logits + balance.shift, labels, reduction="none")
    return (balance.weights[labels] * losses).mean()
