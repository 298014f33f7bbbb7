"""The peers' rules: distances equal to scipy's, and thresholds that mean what is published."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, ks_2samp, wasserstein_distance

from benchmarks.drift.rules import (
    ALPHA,
    RULES,
    Measured,
    any_p,
    any_wide,
    bonferroni,
    calibrated_max_ks,
    critical_ks,
    evidently_default,
    first_alarm,
    ks_distances,
    measure,
    normed_wasserstein,
)

RNG = np.random.default_rng(11)
REFERENCE = RNG.normal(size=(2000, 6)).astype(np.float32)


def measured(ks: list[list[float]], wasserstein: list[list[float]] | None = None, n: int = 2000) -> Measured:
    other = np.zeros((len(ks), len(ks[0]))) if wasserstein is None else np.array(wasserstein)
    return Measured(np.array(ks), other, np.arange(1, len(ks) + 1) * 50, n, 500)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=30), st.lists(st.integers(0, 5), min_size=2, max_size=30)
)
def test_ks_is_that_of_scipy_with_ties(old: list[int], new: list[int]) -> None:
    a, b = (np.sort(np.array(values, dtype=np.float32))[:, None] for values in (old, new))
    assert ks_distances(a, b)[0] == pytest.approx(ks_2samp(old, new, method="asymp").statistic, abs=1e-12)


def test_wasserstein_is_that_of_scipy() -> None:
    window = np.sort(RNG.normal(0.2, 1.3, size=(500, 6)).astype(np.float32), axis=0)
    found = normed_wasserstein(np.sort(REFERENCE, axis=0), window)
    expected = [
        wasserstein_distance(old, new) / old.std() for old, new in zip(REFERENCE.T, window.T, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_wasserstein_needs_a_multiple() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        normed_wasserstein(REFERENCE, REFERENCE[:300])


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 43, 1e-6])
def test_the_critical_distance_is_where_scipy_gives_that_p(alpha: float) -> None:
    critical = critical_ks(alpha, 2000, 500)
    # A window whose distance is just the critical one: a uniform reference, the window without its low end.
    reference = (np.arange(2000) + 0.5) / 2000
    window = critical + (1 - critical) * (np.arange(500) + 0.5) / 500
    p = ks_2samp(reference, window, method="asymp").pvalue
    assert p == pytest.approx(alpha, rel=0.25)


def test_a_stream_is_measured_at_every_check() -> None:
    stream = RNG.normal(size=(700, 6)).astype(np.float32)
    found = measure(REFERENCE, stream, 500, 50)
    assert list(found.ends) == [500, 550, 600, 650, 700]
    expected = [ks_2samp(old, new).statistic for old, new in zip(REFERENCE.T, stream[100:600].T, strict=True)]
    np.testing.assert_allclose(found.ks[2], expected, atol=1e-12)


def test_each_rule_has_its_threshold() -> None:
    loose, strict = critical_ks(ALPHA, 2000, 500), critical_ks(ALPHA / 2, 2000, 500)
    found = measured([[0.0, loose * 0.99], [0.0, loose * 1.01], [0.0, strict * 1.01], [0.0, 0.11]])
    assert list(any_p(found)) == [False, True, True, True]
    assert list(bonferroni(found)) == [False, False, True, True]
    assert list(any_wide(found)) == [False, False, False, True]


def test_evidently_asks_for_more_than_half_of_the_columns() -> None:
    none, half, most = [0.0] * 4, [0.2, 0.2, 0.0, 0.0], [0.2, 0.2, 0.1, 0.0]
    by_wasserstein = measured([none] * 3, [none, half, most])
    assert list(evidently_default(by_wasserstein)) == [False, False, True]
    by_ks = measured([none, half, most], n=1000)
    assert list(evidently_default(by_ks)) == [False, False, True]


def test_uncorrected_p_cries_wolf_and_the_calibrated_distance_does_not() -> None:
    """Six independent features: some p < 0.05 in 1 - 0.95^6 = 26 % of fresh windows."""
    alarms = {"p": 0, "calibrated": 0}
    critical = calibrated_max_ks(REFERENCE, 500, 200, seed=1)
    for seed in range(60):
        window = np.random.default_rng([12, seed]).normal(size=(500, 6)).astype(np.float32)
        found = measure(REFERENCE, window, 500, 50)
        alarms["p"] += int(any_p(found)[0])
        alarms["calibrated"] += int(found.ks.max() > critical)
    low, high = (float(binom.ppf(level, 60, 1 - 0.95**6)) for level in (0.001, 0.999))
    assert low <= alarms["p"] <= high * 1.5  # one reference for all windows: its own error widens the band
    assert alarms["calibrated"] <= binom.ppf(0.999, 60, 1 / 100)


def test_a_stricter_budget_has_a_larger_threshold() -> None:
    found = [calibrated_max_ks(REFERENCE, 500, checks, seed=1) for checks in (5, 20, 2000, 200_000)]
    assert found == sorted(found)
    assert found[0] < found[-1] < 0.25


def test_the_first_alarm_is_the_first_check_in_alarm() -> None:
    ends = np.array([50, 100, 150])
    assert first_alarm(np.array([False, True, True]), ends) == 100
    assert first_alarm(np.array([False, False, False]), ends) is None


def test_every_rule_finds_a_gross_change_and_is_quiet_on_the_reference() -> None:
    moved = measure(REFERENCE, REFERENCE[:500] + 3, 500, 50)
    same = measure(REFERENCE, REFERENCE[::4], 500, 50)
    assert all(rule(moved).all() for rule in RULES.values())
    assert not any(rule(same).any() for rule in RULES.values())
