"""The test on labelled loss: its recursion by brute force, its mean by simulation, its run length and its power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from trimtab.stats.sequential import BETS, Bools, lower_bound, risk_increase, upper_bound

losses = st.lists(st.booleans(), min_size=1, max_size=80)


def stream(risk: float, n: int, seed: int) -> Bools:
    return np.random.default_rng(seed).random(n) < risk


@given(losses, st.integers(0, 40), st.floats(0.0, 0.1))
def test_the_statistic_equals_the_recursion(wrong: list[bool], source_wrong: int, tolerance: float) -> None:
    found = risk_increase(wrong, source_wrong=source_wrong, source_n=200, tolerance=tolerance, run_length=50)
    m, path = np.zeros(len(BETS)), []
    for x in wrong:
        m = (m + 1.0) * (1.0 + BETS * (x - found.bound) / found.bound)
        path.append(math.log10(m.mean()))
    crossed = [i for i, each in enumerate(path) if each >= math.log10(50) + 1e-9]
    assert found.statistic == pytest.approx(path[-1], abs=1e-9)
    assert found.crossed_at == (crossed[0] if crossed else None)


@given(losses)
def test_the_change_is_where_the_evidence_is_strongest(wrong: list[bool]) -> None:
    found = risk_increase(wrong, source_wrong=40, source_n=200, tolerance=0.0, run_length=50)
    factors = 1.0 + BETS[:, None] * (np.array(wrong) - found.bound) / found.bound
    best = max(float(factors[:, start:].prod(axis=1).max()) for start in range(len(wrong)))
    assert float(factors[:, found.change_from :].prod(axis=1).max()) == pytest.approx(best)


def test_at_the_bound_the_mean_of_m_is_the_number_of_labels() -> None:
    """E[M_t] = t when the risk is just the bound: what the run length rests on."""
    n, runs = 50, 4000
    bound = risk_increase([], source_wrong=60, source_n=200, tolerance=0.02, run_length=10).bound
    found = [
        10
        ** risk_increase(
            stream(bound, n, seed), source_wrong=60, source_n=200, tolerance=0.02, run_length=10
        ).statistic
        for seed in range(runs)
    ]
    standard_error = float(np.std(found)) / math.sqrt(len(found))
    assert np.mean(found) == pytest.approx(n, abs=4 * standard_error)


def test_false_alarms_are_as_rare_as_promised_at_the_bound() -> None:
    """At the worst risk that is no increase; P(first alarm within T) <= T / A follows from E[M_T] <= T."""
    run_length, horizon, runs = 2000.0, 400, 500
    bound = risk_increase([], source_wrong=500, source_n=2000, tolerance=0.03, run_length=run_length).bound
    alarms = sum(
        risk_increase(
            stream(bound, horizon, seed),
            source_wrong=500,
            source_n=2000,
            tolerance=0.03,
            run_length=run_length,
        ).crossed_at
        is not None
        for seed in range(runs)
    )
    assert alarms <= binom.ppf(0.9999, runs, horizon / run_length)


def test_a_risk_like_the_source_never_comes_near() -> None:
    found = risk_increase(
        stream(0.25, 20_000, 1), source_wrong=500, source_n=2000, tolerance=0.03, run_length=1e6
    )
    assert not found.alarm
    assert found.statistic < 3.0


@pytest.mark.parametrize("rise, within", [(0.30, 200), (0.15, 900)])
def test_a_rise_is_found_within_so_many_labels(rise: float, within: int) -> None:
    """After 2,000 quiet labels, at one false alarm in 100,000; of 200 runs the slowest took 146 and 789."""
    for seed in range(20):
        wrong = np.concatenate([stream(0.25, 2000, seed), stream(0.25 + rise, within, 1000 + seed)])
        found = risk_increase(wrong, source_wrong=500, source_n=2000, tolerance=0.03, run_length=1e5)
        assert found.crossed_at is not None
        assert found.crossed_at >= 2000
        assert abs(found.change_from - 2000) < 300


def test_a_rise_within_the_tolerance_does_not_matter() -> None:
    found = risk_increase(
        stream(0.27, 10_000, 2), source_wrong=500, source_n=2000, tolerance=0.03, run_length=1e5
    )
    assert found.crossed_at is None


def test_without_labels_there_is_no_evidence() -> None:
    found = risk_increase([], source_wrong=10, source_n=100, tolerance=0.03, run_length=1e4)
    assert found.statistic == -math.inf
    assert not found.alarm
    assert found.threshold == pytest.approx(4.0)


def test_a_model_that_is_always_wrong_at_its_source_cannot_get_worse() -> None:
    found = risk_increase([True] * 1000, source_wrong=100, source_n=100, tolerance=0.5, run_length=1e4)
    assert not found.alarm


@pytest.mark.parametrize("source_n, run_length", [(0, 100), (100, 1)])
def test_a_comparison_with_nothing_is_refused(source_n: int, run_length: float) -> None:
    with pytest.raises(ValueError, match="at least one labelled reference row"):
        risk_increase([True], source_wrong=0, source_n=source_n, tolerance=0.0, run_length=run_length)


@pytest.mark.parametrize("wrong, n", [(0, 20), (3, 20), (20, 20), (250, 1000)])
def test_bounds_are_where_the_binomial_puts_them(wrong: int, n: int) -> None:
    upper, lower = upper_bound(wrong, n, 0.975), lower_bound(wrong, n, 0.975)
    assert binom.cdf(wrong, n, upper) == pytest.approx(0.025 if wrong < n else 1.0)
    assert binom.sf(wrong - 1, n, lower) == pytest.approx(0.025 if wrong > 0 else 1.0)
    assert lower_bound(0, 0, 0.9) == 0.0
