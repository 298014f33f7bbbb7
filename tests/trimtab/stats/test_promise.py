from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from trimtab.stats.promise import judge_drop, judge_promise, promised_bound
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


class TestDrop:
    """Two versions on the same rows: the difference of their losses is -1, 0 or 1."""

    MARGIN = 0.03

    def test_it_is_the_mean_of_the_products(self) -> None:
        differences = (1.0, 0.0, -1.0, 0.5, 1.0)
        factors = [
            math.prod(1 + f * (d - self.MARGIN) / (1 + self.MARGIN) for d in differences[:t])
            for f in BETS
            for t in range(1, len(differences) + 1)
        ]
        means = np.array(factors).reshape(len(BETS), -1).mean(axis=0)
        found = judge_drop(differences, self.MARGIN, ALPHA)
        assert found.statistic == pytest.approx(max(0.0, math.log10(means.max())))

    def differences(self, rng: np.random.Generator, n: int, drop: float, both: float = 0.1) -> list[float]:
        """Of a version that is right less often by `drop`; on a share of `both` + `drop` just one of them is."""
        lost, gained = both / 2 + drop, both / 2
        return list(rng.choice([1.0, -1.0, 0.0], size=n, p=[lost, gained, 1 - lost - gained]))

    def test_at_the_margin_it_is_crossed_as_rarely_as_is_promised(self) -> None:
        n, rng = 1000, np.random.default_rng(3)
        crossed = sum(
            judge_drop(self.differences(rng, 2000, self.MARGIN), self.MARGIN, ALPHA).broken for _ in range(n)
        )
        assert 1 <= crossed <= binom.ppf(0.999, n, ALPHA)

    @pytest.mark.parametrize(("drop", "labels"), [(0.1, 700), (0.2, 200), (0.4, 80)])
    def test_one_that_is_worse_is_found(self, drop: float, labels: int) -> None:
        """Nine times in ten within so many labels."""
        n, rng = 300, np.random.default_rng(4)
        found = sum(
            judge_drop(self.differences(rng, labels, drop), self.MARGIN, ALPHA).broken for _ in range(n)
        )
        assert found >= binom.ppf(0.001, n, 0.9)

    def test_one_that_is_better_is_never_stopped(self) -> None:
        n, rng = 200, np.random.default_rng(5)
        stopped = sum(
            judge_drop(self.differences(rng, 1000, -0.04), self.MARGIN, ALPHA).broken for _ in range(n)
        )
        assert stopped == 0

    @pytest.mark.parametrize(("margin", "alpha"), [(1.0, 0.05), (0.03, 0.0), (-1.0, 0.05)])
    def test_what_makes_no_sense_is_refused(self, margin: float, alpha: float) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            judge_drop([0.0], margin, alpha)
