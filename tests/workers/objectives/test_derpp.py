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
