from __future__ import annotations

import math

import pytest
import torch

from workers.objectives.supervised import (
    EFFECTIVE_BETA,
    MAX_WEIGHT_RATIO,
    Balance,
    class_balance,
    class_weights,
    cross_entropy,
)


def test_weights_follow_the_effective_number_of_samples() -> None:
    counts = [300, 100]
    raw = [(1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA**n) for n in counts]
    weights = class_weights(counts)
    assert float(weights[1] / weights[0]) == pytest.approx(raw[1] / raw[0])


def test_the_mean_weight_over_the_samples_is_one() -> None:
    weights = class_weights([40, 7, 300])
    assert float((weights * torch.tensor([40.0, 7.0, 300.0])).sum() / 347) == pytest.approx(1.0)


def test_equal_counts_give_equal_weights() -> None:
    assert class_weights([50, 50, 50]).tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_a_class_that_is_absent_disturbs_nothing() -> None:
    assert class_weights([50, 0, 50]).tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert class_weights([0, 0]).tolist() == [1.0, 1.0]


def test_the_ratio_is_capped() -> None:
    weights = class_weights([100_000, 1])
    assert float(weights.max() / weights.min()) == pytest.approx(MAX_WEIGHT_RATIO, rel=1e-4)


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    balance = Balance("", torch.tensor([2.0, 0.5]), torch.zeros(2))
    loss = cross_entropy(logits, torch.tensor([1, 0]), balance)
    assert float(loss) == pytest.approx((0.5 * math.log(4 / 3) + 2.0 * math.log(2.0)) / 2)


def test_the_shift_is_added_to_the_logits() -> None:
    logits, shift = torch.zeros(1, 2), torch.tensor([math.log(3.0), 0.0])
    loss = cross_entropy(logits, torch.tensor([1]), Balance("", torch.ones(2), shift))
    assert float(loss) == pytest.approx(math.log(4.0))


def test_beyond_ten_to_one_logits_are_adjusted() -> None:
    assert class_balance([100, 10, 0]).name == "effective number"
    found = class_balance([101, 10, 0])
    assert found.name == "logit adjustment"
    assert found.weights.tolist() == [1.0, 1.0, 1.0]
    assert found.shift.exp().tolist() == pytest.approx([102 / 114, 11 / 114, 1 / 114])
    assert class_balance([0, 0]).name == "effective number"


def test_adjusted_logits_answer_for_equal_classes() -> None:
    """Two overlapping classes, 20:1. Plain cross-entropy puts the border where the densities weighted by the shares
    meet, at log(20) / 2 from the middle; adjusted, in the middle, which is best for balanced accuracy."""
    random = torch.Generator().manual_seed(0)
    counts = [20_000, 1_000]
    x = torch.cat([torch.randn(n, generator=random) + side for n, side in zip(counts, (-1, 1), strict=True)])
    y = torch.cat([torch.full((n,), label) for label, n in enumerate(counts)])
    borders = []
    for balance in (class_balance(counts), Balance("", torch.ones(2), torch.zeros(2))):
        line = torch.nn.Linear(1, 2)
        optimiser = torch.optim.LBFGS(line.parameters(), max_iter=100)

        def loss(line: torch.nn.Linear = line, balance: Balance = balance) -> torch.Tensor:
            line.zero_grad()
            value = cross_entropy(line(x[:, None]), y, balance)
            value.backward()
            return value

        optimiser.step(loss)
        slope, offset = (t[1] - t[0] for t in (line.weight[:, 0], line.bias))
        borders.append(float((-offset / slope).detach()))
    assert borders[0] == pytest.approx(0.0, abs=0.1)
    assert borders[1] == pytest.approx(math.log(20) / 2, abs=0.15)
