from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from trimtab.stats.promise import judge_promise, promised_bound
from trimtab.stats.sequential import BETS

ALPHA = 0.05


def e_values(losses: tuple[int, ...], bound: float) -> list[float]:
    """The mean over the bets of the products, read aloud."""
    return [
        sum(math.prod(1 + f * (x - bound) / bound for x in losses[:t]) for f in BETS) / len(BETS)
        for t in range(1, len(losses) + 1)
    ]


@pytest.mark.parametrize("bound", [0.05, 0.3, 0.7])
def test_it_is_the_mean_of_the_products(bound: float) -> None:
    losses = (1, 0, 1, 1, 0, 0, 1)
    found = judge_promise([bool(x) for x in losses], bound, ALPHA)
    assert found.statistic == pytest.approx(max(0.0, math.log10(max(e_values(losses, bound)))))
    assert found.threshold == pytest.approx(math.log10(20))


@pytest.mark.parametrize("bound", [0.1, 0.4])
def test_at_the_bound_the_mean_of_the_e_value_is_one(bound: float) -> None:
    """Exactly, over every course of eight labels."""
    mean = sum(
        e_values(losses, bound)[-1] * bound ** sum(losses) * (1 - bound) ** (8 - sum(losses))
        for losses in product((0, 1), repeat=8)
    )
    assert mean == pytest.approx(1.0)


@pytest.mark.parametrize("bound", [0.08, 0.2])
def test_at_the_bound_it_is_ever_crossed_at_most_as_often_as_is_promised(bound: float) -> None:
    n, rng = 1000, np.random.default_rng(11)
    crossed = sum(judge_promise(rng.random(3000) < bound, bound, ALPHA).broken for _ in range(n))
    assert crossed <= binom.ppf(0.999, n, ALPHA)
    assert crossed >= 1  # it is a test, not a constant


@pytest.mark.parametrize(("above", "labels"), [(0.05, 1500), (0.1, 500), (0.3, 100)])
def test_a_broken_promise_is_found(above: float, labels: int) -> None:
    """Nine times in ten within so many labels; the band is that of the count."""
    n, rng, bound = 300, np.random.default_rng(12), 0.15
    found = sum(judge_promise(rng.random(labels) < bound + above, bound, ALPHA).broken for _ in range(n))
    assert found >= binom.ppf(0.001, n, 0.9)


def test_it_is_not_undone_by_what_came_later() -> None:
    found = judge_promise([True] * 20 + [False] * 500, 0.2, ALPHA)
    assert found.broken
    assert found.crossed_at is not None
    assert found.crossed_at < 20
    assert found.statistic > found.threshold


def test_without_labels_nothing_is_said() -> None:
    found = judge_promise([], 0.2, ALPHA)
    assert (found.statistic, found.crossed_at, found.broken) == (0.0, None, False)


def test_the_bound_is_the_reference_at_its_worst_and_the_tolerance() -> None:
    assert promised_bound(10, 100, 0.03) == pytest.approx(0.1762 + 0.03, abs=1e-3)
    assert promised_bound(5, 5, 0.03) == 0.999
    assert promised_bound(100, 1000, 0.03) < promised_bound(10, 100, 0.03)
    with pytest.raises(ValueError, match="at least one"):
        promised_bound(0, 0, 0.03)


@pytest.mark.parametrize(("bound", "alpha"), [(0.0, 0.05), (1.0, 0.05), (0.2, 0.0), (0.2, 1.0)])
def test_impossible_numbers_are_refused(bound: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        judge_promise([True], bound, alpha)
