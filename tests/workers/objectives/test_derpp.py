from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from workers.objectives.derpp import centred, derpp_loss


def draw(seed: int, rows: int = 5, classes: int = 3) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_sum_of_both_terms() -> None:
    logits, stored, other = draw(1), draw(2), draw(3, rows=4)
    labels = torch.tensor([0, 2, 1, 1])
    a = logits - logits.mean(dim=1, keepdim=True)
    b = stored - stored.mean(dim=1, keepdim=True)
    squared = sum(float((a[i, j] - b[i, j]) ** 2) for i in range(5) for j in range(3)) / 15
    entropy = -sum(float(torch.log_softmax(other, dim=1)[i, labels[i]]) for i in range(4)) / 4
    loss = derpp_loss(logits, stored, other, labels, alpha=0.3, beta=0.5)
    assert float(loss) == pytest.approx(0.3 * squared + 0.5 * entropy)


def test_a_constant_added_to_a_row_changes_nothing() -> None:
    logits, stored = draw(1), draw(2)
    shifted = logits + torch.arange(5.0, dtype=torch.float64)[:, None]
    labels = torch.zeros(5, dtype=torch.long)
    one, two = (derpp_loss(z, stored, z, labels, alpha=1.0, beta=0.0) for z in (logits, shifted))
    assert float(one) == pytest.approx(float(two))
    assert functional.mse_loss(logits, stored) != functional.mse_loss(shifted, stored)


def test_it_vanishes_when_the_old_answers_are_kept() -> None:
    stored = draw(2)
    labels = torch.zeros(5, dtype=torch.long)
    assert float(derpp_loss(stored + 7.0, stored, stored, labels, alpha=1.0, beta=0.0)) == pytest.approx(0.0)


def test_centred_rows_have_mean_zero() -> None:
    assert centred(draw(4)).mean(dim=1).abs().max() < 1e-12


def test_what_was_not_stored_is_not_asked_for() -> None:
    """With a class that came later the loss is that of the others alone, and pulls nowhere at the new one."""
    logits, stored, labels = draw(1).requires_grad_(), draw(2), torch.zeros(5, dtype=torch.long)
    later = torch.cat([stored[:, :2], torch.full((5, 1), torch.nan, dtype=torch.float64)], dim=1)
    loss = derpp_loss(logits, later, logits, labels, alpha=1.0, beta=0.0)
    first = logits.detach()[:, :2]
    assert loss.item() == pytest.approx(
        float(derpp_loss(first, stored[:, :2], first, labels, alpha=1.0, beta=0.0))
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()
    assert (gradient[:, 2] == 0).all()
    assert gradient[:, :2].abs().max() > 0


def test_rows_of_before_and_of_after_count_by_what_they_say() -> None:
    logits, stored, labels = draw(1), draw(2), torch.zeros(5, dtype=torch.long)
    mixed = stored.clone()
    mixed[0, 2] = torch.nan
    parts = [
        derpp_loss(z, t, z, labels[: len(z)], alpha=1.0, beta=0.0)
        for z, t in ((logits[:1, :2], stored[:1, :2]), (logits[1:], stored[1:]))
    ]
    loss = derpp_loss(logits, mixed, logits, labels, alpha=1.0, beta=0.0)
    assert float(loss) == pytest.approx((2 * float(parts[0]) + 12 * float(parts[1])) / 14)
