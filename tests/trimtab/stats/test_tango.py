"""Tango's closed form against brute force: numeric constrained maximisation, enumeration, simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm

from trimtab.stats.tango import (
    PairedCounts,
    loss_bound,
    non_inferiority,
    paired_counts,
    power,
    score,
    score_z,
    weighted_counts,
)

ALPHA = 0.05


def brute_z(counts: PairedCounts, margin: float) -> float:
    """The score statistic with the nuisance share found by maximising the likelihood numerically."""
    b, c, n = counts.lost, counts.gained, counts.n

    def minus_log_likelihood(gained: float) -> float:
        lost, same = gained + margin, 1.0 - 2.0 * gained - margin
        terms = ((b, lost), (c, gained), (n - b - c, same))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in terms if k)

    low, high = max(0.0, -margin), (1.0 - margin) / 2.0
    found = minimize_scalar(
        minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    )
    q = float(found.x)
    return float((b - c - n * margin) / np.sqrt(n * (2 * q + margin - margin**2)))


@st.composite
def tables(draw: st.DrawFn) -> PairedCounts:
    n = draw(st.integers(20, 400))
    lost = draw(st.integers(1, n // 3))
    return PairedCounts(n=n, lost=lost, gained=draw(st.integers(1, n // 3)))


@given(tables(), st.floats(-0.3, 0.3))
def test_closed_form_is_the_constrained_likelihood_maximum(counts: PairedCounts, margin: float) -> None:
    assert score_z(counts, margin) == pytest.approx(brute_z(counts, margin), abs=2e-3, rel=2e-3)


def test_both_ends_of_the_interval_solve_the_brute_force_score_equation() -> None:
    counts = PairedCounts(n=44, lost=12, gained=1)
    upper = loss_bound(counts, 0.025)
    lower = -loss_bound(PairedCounts(n=44, lost=1, gained=12), 0.025)
    assert counts.loss == pytest.approx(0.25)
    assert brute_z(counts, upper) == pytest.approx(-norm.isf(0.025), abs=1e-4)
    assert brute_z(counts, lower) == pytest.approx(norm.isf(0.025), abs=1e-4)
    assert lower < 0.25 < upper


def test_at_margin_zero_it_is_mcnemar() -> None:
    counts = PairedCounts(n=300, lost=12, gained=30)
    assert score_z(counts, 0.0) == pytest.approx((12 - 30) / np.sqrt(42))


@given(tables(), st.floats(0.001, 0.3))
def test_passing_and_the_bound_agree(counts: PairedCounts, margin: float) -> None:
    result = non_inferiority(counts, margin, ALPHA)
    if abs(result.bound - margin) > 1e-9:
        assert result.passed == (result.bound < margin)


@given(tables())
def test_the_bound_solves_the_score_equation(counts: PairedCounts) -> None:
    bound = loss_bound(counts, ALPHA)
    assert bound > counts.loss
    assert score_z(counts, bound) == pytest.approx(-norm.isf(ALPHA), abs=1e-6)


@pytest.mark.parametrize(
    "counts",
    [PairedCounts(50, 0, 0), PairedCounts(50, 50, 0), PairedCounts(50, 0, 50), PairedCounts(1, 0, 0)],
)
def test_extreme_tables_have_finite_answers(counts: PairedCounts) -> None:
    result = non_inferiority(counts, 0.03, ALPHA)
    assert np.isfinite([result.z, result.p_value, result.bound]).all()
    assert counts.loss <= result.bound <= 1.0


def test_nothing_discordant_still_needs_enough_examples() -> None:
    assert not non_inferiority(PairedCounts(60, 0, 0), 0.03, ALPHA).passed
    assert non_inferiority(PairedCounts(120, 0, 0), 0.03, ALPHA).passed


def test_paired_counts_from_correctness() -> None:
    incumbent = np.array([True, True, False, False, True])
    candidate = np.array([True, False, True, False, False])
    assert paired_counts(incumbent, candidate) == PairedCounts(n=5, lost=2, gained=1)
    with pytest.raises(ValueError, match="not paired"):
        paired_counts(incumbent, candidate[:3])


@pytest.mark.parametrize("n, lost, gained", [(0, 0, 0), (5, 3, 3), (5, -1, 0)])
def test_impossible_counts_are_refused(n: int, lost: int, gained: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        PairedCounts(n, lost, gained)


@pytest.mark.parametrize("n, discordance", [(200, 0.08), (500, 0.08), (500, 0.15), (1500, 0.08)])
def test_size_at_the_margin_by_simulation(n: int, discordance: float) -> None:
    """At a true loss of exactly the margin, about 5 % pass: the binomial band, plus 1 point."""
    margin, draws = 0.03, 20_000
    shares = [(discordance + margin) / 2, (discordance - margin) / 2, 1 - discordance]
    tables_drawn = np.random.default_rng(1).multinomial(n, shares, size=draws).astype(np.float64)
    passed = int(np.sum(score(tables_drawn[:, 0], tables_drawn[:, 1], n, margin) < -norm.isf(ALPHA)))
    low, high = (binom.ppf(q, draws, ALPHA) / draws for q in (0.001, 0.999))
    assert low - 0.01 < passed / draws < high + 0.005
    assert passed / draws == pytest.approx(power(n, discordance, margin, ALPHA, true_loss=margin), abs=0.006)


@pytest.mark.parametrize(
    "n, discordance, expected",
    [(500, 0.08, 0.75), (500, 0.15, 0.53), (1500, 0.08, 0.99), (1500, 0.15, 0.92), (200, 0.04, 0.59)],
)
def test_power_of_a_harmless_candidate(n: int, discordance: float, expected: float) -> None:
    assert power(n, discordance, 0.03, ALPHA) == pytest.approx(expected, abs=0.02)


def test_power_is_the_full_sum_on_a_small_table() -> None:
    n, p_lost, p_gained, margin = 30, 0.1, 0.05, 0.2
    total = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            mass = binom.pmf(b, n, p_lost) * binom.pmf(c, n - b, p_gained / (1 - p_lost))
            total += mass * (score_z(PairedCounts(n, b, c), margin) < -norm.isf(ALPHA))
    assert power(n, 0.15, margin, ALPHA, true_loss=0.05) == pytest.approx(total, abs=1e-8)


def test_power_without_discordance_is_zero_or_one() -> None:
    assert power(500, 0.0, 0.03, ALPHA) == pytest.approx(1.0)
    assert power(50, 0.0, 0.03, ALPHA) == pytest.approx(0.0)


def test_power_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="cannot happen"):
        power(100, 0.02, 0.03, ALPHA, true_loss=0.05)


def weighted_draw(seed: int, n: int = 400) -> tuple[Any, Any, Any]:
    """Correctness of two versions, and weights by a class that is one in four."""
    rng = np.random.default_rng(seed)
    rare = rng.random(n) < 0.25
    change = rng.choice(3, size=n, p=(0.06, 0.05, 0.89))
    return change != 1, change != 0, np.where(rare, 2.2, 0.6)


def test_equal_weights_give_the_counts() -> None:
    before, after, _ = weighted_draw(1)
    plain, even = paired_counts(before, after), weighted_counts(before, after, np.full(400, 3.0))
    assert (even.n, even.lost, even.gained) == pytest.approx((plain.n, plain.lost, plain.gained))


def test_shares_are_by_weight_and_the_number_is_at_most_kish() -> None:
    before, after, weights = weighted_draw(2)
    found = weighted_counts(before, after, weights)
    lost = weights[before & ~after].sum() / weights.sum()
    assert found.lost / found.n == pytest.approx(lost)
    assert found.n <= weights.sum() ** 2 / (weights**2).sum() + 1e-9


def test_the_table_has_the_variance_of_the_weighted_loss() -> None:
    """By brute force: losses of equal tables of that size vary as the weighted losses of many draws do."""
    draws = [weighted_draw(seed) for seed in range(3000)]
    tables = [weighted_counts(*draw) for draw in draws]
    losses = np.array([table.loss for table in tables])
    said = np.array([(t.discordance - t.loss**2) / t.n for t in tables])
    assert losses.var() == pytest.approx(said.mean(), rel=0.15)
    assert losses.mean() == pytest.approx(0.06 - 0.05, abs=4 * losses.std() / math.sqrt(3000))


def test_the_weighted_test_keeps_its_level() -> None:
    """At a true weighted loss of exactly the margin at most 5 % pass, within the binomial's band."""
    rng = np.random.default_rng(9)
    n, draws, passed = 600, 1000, 0
    for _ in range(draws):
        rare = rng.random(n) < 0.25
        weights = np.where(rare, 2.2, 0.6)  # mean weight 1: 0.55 of the weight is of the rare class
        p_lost = np.where(rare, 0.07, 0.0544444)  # weighted loss 0.55 * 0.05 + 0.45 * 0.0055555 = 0.03
        p_gained = np.where(rare, 0.02, 0.0488889)
        unit = rng.random(n)
        lost, gained = unit < p_lost, (unit >= p_lost) & (unit < p_lost + p_gained)
        counts = weighted_counts(~gained, ~lost, weights)
        passed += non_inferiority(counts, 0.03, 0.05).passed
    assert passed <= binom.ppf(0.999, draws, 0.05)


@pytest.mark.parametrize("weights", [[1.0], [-1.0, 1.0], [0.0, 0.0]])
def test_weights_that_are_none(weights: list[float]) -> None:
    right = np.array([True, False])
    with pytest.raises(ValueError, match="weight"):
        weighted_counts(right, right, np.array(weights))
