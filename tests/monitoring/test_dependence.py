"""Dependence in time is seen where there is some, and only there; stretches are long enough."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from monitoring.dependence import STRETCH, SURE, TIMES, block_length, is_dependent, lag_one, noise


def sessions(n: int, mean: float, seed: int, d: int = 6) -> np.ndarray:
    """Rows in sessions of geometric length, each about one of five subjects."""
    random = np.random.default_rng(seed)
    subjects = random.normal(size=(5, d))
    session = np.cumsum(random.random(n) < 1 / mean)
    subject = random.integers(5, size=session[-1] + 1)[session]
    return np.asarray(subjects[subject] + random.normal(size=(n, d)), dtype=np.float32)


def autoregressive(n: int, rho: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 3))
    for i in range(1, n):
        rows[i, 1] = rho * rows[i - 1, 1] + (1 - rho**2) ** 0.5 * rows[i, 1]
    return rows


def test_lag_one_is_the_largest_rank_correlation_of_neighbours() -> None:
    rows = autoregressive(4000, 0.7, seed=0)
    assert lag_one(rows) == pytest.approx(0.68, abs=0.04)  # rank correlation of a Gaussian pair with 0.7
    assert lag_one(np.exp(3 * rows)) == pytest.approx(lag_one(rows))
    assert lag_one(rows[:, [0, 2]]) < noise(4000, 2)


def test_independent_rows_hardly_ever_look_dependent() -> None:
    """200 references: the 99.9 % binomial band."""
    random = np.random.default_rng(1)
    found = sum(block_length(random.normal(size=(600, 20))) > 1 for _ in range(200))
    assert found <= binom.ppf(0.999, 200, 1 - SURE)


@pytest.mark.parametrize("mean", [3, 5, 20])
def test_sessions_are_seen(mean: float) -> None:
    for seed in range(10):
        assert lag_one(sessions(1500, mean, seed)) > noise(1500, 6)
        assert block_length(sessions(1500, mean, seed)) > TIMES


def test_a_feature_that_hardly_ever_varies_tells_nothing_about_its_neighbours() -> None:
    """Seven unusual rows of 500, two of them side by side: by the normal law that were 6 standard deviations."""
    rows = np.random.default_rng(2).normal(size=(500, 3))
    rows[:, 2] = 0.0
    rows[[10, 11, 90, 200, 280, 333, 470], 2] = 0.2
    assert lag_one(rows) < noise(500, 3)
    assert lag_one(np.repeat(rows, 2, axis=0)) > 0.4  # the others still tell


def test_many_sessions_side_by_side_are_seen_by_their_stretches() -> None:
    """Each event is one of 15 sessions that go on at the same time: neighbours hardly ever belong together."""
    random = np.random.default_rng(2)
    n, d = 5000, 8
    subjects = random.normal(size=(n, d))
    running = random.integers(n, size=15)
    rows = np.empty((n, d))
    for i in range(n):
        session = random.integers(15)
        if random.random() < 0.02:
            running[session] = random.integers(n)
        rows[i] = subjects[running[session]] + 0.5 * random.normal(size=d)
    assert is_dependent(rows)
    assert block_length(rows) == len(rows) // 10


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_stretches_are_ten_times_the_time_over_which_rows_forget(rho: float) -> None:
    expected = TIMES * (1 + rho) / (1 - rho)
    assert block_length(autoregressive(20_000, rho, seed=3)) == pytest.approx(expected, rel=0.3)


def test_longer_sessions_need_longer_stretches() -> None:
    lengths = [block_length(sessions(20_000, mean, seed=4)) for mean in (1, 3, 10, 30)]
    assert lengths[0] == 1
    assert lengths == sorted(lengths)


def test_stretches_never_exceed_a_tenth_of_the_rows() -> None:
    assert block_length(sessions(1000, 200, seed=5)) == 100


def test_few_rows_constants_and_broken_values_do_no_harm() -> None:
    assert block_length(sessions(10 * STRETCH - 1, 20, seed=6)) == 1
    assert lag_one(np.zeros((1, 2))) == 0.0
    constant = np.zeros((1000, 2))
    assert (lag_one(constant), block_length(constant)) == (0.0, 1)
    broken = np.random.default_rng(7).normal(size=(1000, 2))
    broken[::3, 0], broken[::7, 1] = np.nan, np.inf
    assert np.isfinite(lag_one(broken))
