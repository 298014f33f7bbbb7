"""Budgets are read right, and what they promise is kept on data that the thresholds have not seen."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import norm, poisson

from monitoring import calibration
from monitoring.calibration import (
    MAX_ROWS,
    asymptotic_thresholds,
    calibrate,
    checks_per_alarm,
    thin,
)
from monitoring.ks import energy, ks_statistics, sort_reference
from monitoring.mixture import distances, know_domains


@pytest.mark.parametrize(
    ("budget", "checks"),
    [
        ("1 per 30d", 30 * 86400 / 300),
        ("1 per 100000 events", 2000),
        ("2 per 100000 events", 1000),
        ("0.5 per 12h", 288),
        (" 1  per 1000s ", 10 / 3),
    ],
)
def test_budgets_become_checks(budget: str, checks: float) -> None:
    assert checks_per_alarm(budget, check_every=50, check_every_s=300.0) == pytest.approx(checks)


@pytest.mark.parametrize("budget", ["", "1 per month", "one per 30d", "1 per 30", "30d"])
def test_an_unreadable_budget_says_how_to_write_one(budget: str) -> None:
    with pytest.raises(ValueError, match='write "1 per 30d" or "1 per 100000 events"'):
        checks_per_alarm(budget, 50, 300.0)


@pytest.mark.parametrize("budget", ["0 per 30d", "1 per 50 events", "1 per 10s"])
def test_a_budget_that_allows_an_alarm_at_every_check_is_refused(budget: str) -> None:
    with pytest.raises(ValueError, match="allow fewer alarms"):
        checks_per_alarm(budget, 50, 300.0)


def gaussian(n: int, correlation: float, random: np.random.Generator, d: int = 8) -> np.ndarray:
    common = random.normal(size=(n, 1))
    rows = correlation**0.5 * common + (1 - correlation) ** 0.5 * random.normal(size=(n, d))
    return np.asarray(rows, dtype=np.float32)


def crossings(reference: np.ndarray, windows: list[np.ndarray], checks: float) -> int:
    thresholds = calibrate(reference, len(windows[0]), checks)
    prepared = sort_reference(reference)
    ks = [ks_statistics(prepared, window) for window in windows]
    return sum(energy(each) > thresholds.energy or each.max() > thresholds.max_ks for each in ks)


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.9])
@pytest.mark.parametrize("n_reference", [120, 500])
def test_no_more_false_alarms_than_promised_on_fresh_references(n_reference: int, correlation: float) -> None:
    """30 fresh references with 100 fresh windows each, one crossing allowed in 50 checks: the 99.9 % Poisson band."""
    random = np.random.default_rng(7)
    splits, n_windows, checks = 30, 100, 50.0
    found = 0
    for _ in range(splits):
        reference = gaussian(n_reference, correlation, random)
        windows = [gaussian(100, correlation, random) for _ in range(n_windows)]
        found += crossings(reference, windows, checks)
    assert found <= poisson.ppf(0.999, splits * n_windows / checks)


@pytest.mark.slow
def test_a_known_mixture_keeps_the_promise_of_its_widest_part() -> None:
    random = np.random.default_rng(8)
    splits, n_windows, checks = 15, 60, 50.0
    found = 0
    for _ in range(splits):
        rows = {"a": gaussian(300, 0.3, random), "b": gaussian(150, 0.3, random) * 1.2 + 0.8}
        known = know_domains(rows)
        parts = [calibrate(each, 100, checks) for each in known.rows]
        bound = max(part.energy for part in parts), max(part.max_ks for part in parts)
        for _ in range(n_windows):
            n = random.binomial(100, random.uniform(0.1, 0.9))
            window = np.vstack([gaussian(100 - n, 0.3, random), gaussian(n, 0.3, random) * 1.2 + 0.8])
            mixture = distances(known, window)[-1]
            found += mixture.energy > bound[0] or mixture.max_ks > bound[1]
    assert found <= poisson.ppf(0.999, splits * n_windows / checks)


def test_a_shift_is_above_the_threshold() -> None:
    random = np.random.default_rng(9)
    reference = gaussian(600, 0.0, random)
    assert crossings(reference, [gaussian(200, 0.0, random) + 0.5 for _ in range(20)], 2000.0) == 20


def test_thresholds_are_the_same_again_and_move_with_what_they_depend_on() -> None:
    rows = gaussian(400, 0.0, np.random.default_rng(10))
    base = calibrate(rows, 200, 500.0)
    assert calibrate(rows, 200, 500.0) == base
    rarer, wider, smaller = (
        calibrate(rows, 200, 5000.0),
        calibrate(rows, 100, 500.0),
        calibrate(rows[:100], 200, 500.0),
    )
    for other in (rarer, wider, smaller):
        assert other.energy > base.energy
        assert other.max_ks > base.max_ks


def test_the_extrapolation_is_told() -> None:
    rows = gaussian(100, 0.0, np.random.default_rng(11))
    simulated = calibration.N_REFERENCES * calibration.N_WINDOWS
    assert calibrate(rows, 50, 2000.0).extrapolation == pytest.approx(2 * 2000.0 / simulated)


def test_ties_and_constants_are_calibrated() -> None:
    random = np.random.default_rng(12)
    rows = np.column_stack([random.integers(0, 3, 300), np.zeros(300), random.normal(size=300)]).astype(
        np.float32
    )
    thresholds = calibrate(rows, 100, 500.0)
    assert 0.0 < thresholds.max_ks < 0.5
    constant = calibrate(np.zeros((100, 2), dtype=np.float32), 50, 500.0)
    assert (constant.energy, constant.max_ks) == (0.0, 0.0)


def test_draws_are_scored_exactly() -> None:
    """The running-sum form of D agrees with the definition on the very rows that were drawn."""
    rows = np.random.default_rng(13).integers(0, 6, size=(80, 3)).astype(np.float32)
    scores = calibration._outer_draw(calibration._rank_order(rows), 40, np.random.default_rng(14))
    random = np.random.default_rng(14)
    reference = sort_reference(rows[random.integers(80, size=80)])
    windows = rows[random.integers(80, size=(calibration.N_WINDOWS, 40))]
    ks = np.stack([ks_statistics(reference, window) for window in windows])
    np.testing.assert_allclose(scores[:, 0], np.square(ks).sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(scores[:, 1], ks.max(axis=1), atol=1e-12)


def test_the_tail_continues_an_exponential_one() -> None:
    values = np.random.default_rng(15).exponential(size=20_000)
    assert calibration._tail_quantile(values, 1e-5) == pytest.approx(-np.log(1e-5), rel=0.1)
    assert calibration._tail_quantile(values, 0.2) == pytest.approx(-np.log(0.2), rel=0.05)


def test_the_tail_of_a_lighter_one_is_overestimated_not_underestimated() -> None:
    values = np.random.default_rng(16).normal(size=20_000)
    assert calibration._tail_quantile(values, 1e-5) > norm.isf(1e-5)


def test_asymptotic_thresholds_bound_smirnovs_probability() -> None:
    thresholds = asymptotic_thresholds(1000, 43, 500, 2000.0)
    probability = 2 * np.exp(-2 * thresholds.max_ks**2 * 1000 * 500 / 1500)
    assert 43 * probability * calibration.N_ARMS == pytest.approx(1 / 2000.0)
    assert thresholds.energy == pytest.approx(43 * thresholds.max_ks**2)
    assert not thresholds.calibrated
    assert asymptotic_thresholds(50, 43, 50, 1e9).max_ks <= 1.0


def test_large_references_are_thinned_evenly() -> None:
    rows = np.arange(3 * MAX_ROWS, dtype=np.float32)[:, None]
    thinned = thin(rows)
    assert len(thinned) == MAX_ROWS
    assert (thinned[0, 0], thinned[-1, 0]) == (0.0, 3 * MAX_ROWS - 1)
    assert thin(rows[:10]) is not None
    assert len(thin(rows[:10])) == 10


def test_two_thousand_rows_of_43_features_take_seconds() -> None:
    rows = np.random.default_rng(17).normal(size=(2000, 43)).astype(np.float32)
    began = time.process_time()
    calibrate(rows, 500, 2000.0)
    assert time.process_time() - began < 10  # measured 1.3; the bound leaves room for a slower machine
