"""Dark Experience Replay++: keep the old answers (logits) and the old labels while something new is learned.

L = alpha * MSE(z(x), z_stored) + beta * CE(x', y') with x and x' two independent draws from memory.

Source: Buzzega et al., "Dark Experience for General Continual Learning: a Strong, Simple Baseline", NeurIPS 2020
(arXiv 2004.07211), equation 6. Two differences, both harmless to it: logits are centred per row first, because a
softmax does not see a constant while the squared error does; and stored logits are recorded in evaluation mode after
training, not during the pass.
"""

from __future__ import annotations

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
    dark = functional.mse_loss(centred(logits), centred(stored))
    return alpha * dark + beta * functional.cross_entropy(other_logits, other_labels)
