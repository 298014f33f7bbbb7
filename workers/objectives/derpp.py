"""Dark Experience Replay++: keep the old answers (logits) and the old labels while something new is learned.

L = alpha * MSE(z(x), z_stored) + beta * CE(x', y') with x and x' two independent draws from memory.

Source: Buzzega et al., "Dark Experience for General Continual Learning: a Strong, Simple Baseline", NeurIPS 2020
(arXiv 2004.07211), equation 6. Two differences, both harmless to it: logits are centred per row first, because a
softmax does not see a constant while the squared error does; and stored logits are recorded in evaluation mode after
training, not during the pass. Logits of classes that came later than an exemplar are not a number: they say nothing,
and neither the mean nor the error sees them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

ALPHA = 0.3
BETA = 0.5


def centred(logits: Tensor) -> Tensor:
    """Logits (n, k) minus their row mean."""
    return logits - logits.mean(dim=1, keepdim=True)


def derpp_loss(
    logits: Tensor, stored: Tensor, other_logits: Tensor, other_labels: Tensor, *, alpha: float, beta: float
) -> Tensor:
    """The replay term. First draw: logits, stored (n, k); second draw: other_logits (m, k), other_labels (m,)."""
    said = ~stored.isnan()
    dark = (
        functional.mse_loss(centred(logits), centred(stored)) if said.all() else _masked(logits, stored, said)
    )
    return alpha * dark + beta * functional.cross_entropy(other_logits, other_labels)


def _masked(logits: Tensor, stored: Tensor, said: Tensor) -> Tensor:
    """The mean squared error of centred logits over what was stored, `said` (n, k)."""
    n = said.sum(dim=1, keepdim=True)
    away = torch.where(said, logits - stored, 0.0)
    away = torch.where(said, away - away.sum(dim=1, keepdim=True) / n, 0.0)
    return away.square().sum() / said.sum()
