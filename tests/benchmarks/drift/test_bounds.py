"""The best possible delay, where it is known: normals that differ in their mean."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.drift.bounds import best_delay, fit_logistic

RNG = np.random.default_rng(31)
BEFORE = RNG.normal(size=(6000, 4)).astype(np.float32)


def moved(by: float, n: int = 6000) -> np.ndarray:
    rows = RNG.normal(size=(n, 4)).astype(np.float32)
    rows[:, 0] += by
    return rows


@pytest.mark.parametrize("by", [0.5, 1.0])
def test_the_divergence_of_two_normals(by: float) -> None:
    """KL = d^2 / 2; a held-out estimate with a few weights is a little below it."""
    found = best_delay(BEFORE, moved(by), 1.0, 100_000)
    truth = by**2 / 2
    noise = by / math.sqrt(6000)  # of the mean log ratio, whose standard deviation is d
    assert 0.85 * truth - 4 * noise < found.kl < truth + 4 * noise
    assert found.events == pytest.approx(math.log(100_000) / found.kl)


def test_a_small_share_carries_far_less() -> None:
    """For a small share s the divergence is s^2 chi2 / 2, and chi2 = exp(d^2) - 1 for normals."""
    found = best_delay(BEFORE, moved(1.0), 0.1, 100_000)
    expected = 0.1**2 * (math.e - 1) / 2
    assert 0.5 * expected < found.kl < 1.5 * expected


def test_nothing_is_found_where_nothing_changed() -> None:
    found = best_delay(BEFORE, moved(0.0), 1.0, 100_000)
    assert found.kl < 0.001
    assert found.events is None or found.events > 10_000


def test_the_fit_is_where_the_gradient_vanishes() -> None:
    old, new = np.hstack([np.ones((500, 1)), BEFORE[:500]]), np.hstack([np.ones((300, 1)), moved(0.7, 300)])
    weights = fit_logistic(old, new, 0.1)
    p_old, p_new = (1 / (1 + np.exp(-rows @ weights)) for rows in (old, new))
    gradient = 0.5 * (old * p_old[:, None]).mean(axis=0) - 0.5 * (new * (1 - p_new)[:, None]).mean(axis=0)
    np.testing.assert_allclose(gradient + 0.1 * weights, 0, atol=1e-9)
