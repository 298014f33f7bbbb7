from __future__ import annotations

import math

import pytest
import torch

from workers.objectives.supervised import EFFECTIVE_BETA, MAX_WEIGHT_RATIO, class_weights, cross_entropy


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
    loss = cross_entropy(logits, torch.tensor([1, 0]), torch.tensor([2.0, 0.5]))
    assert float(loss) == pytest.approx((0.5 * math.log(4 / 3) + 2.0 * math.log(2.0)) / 2)
