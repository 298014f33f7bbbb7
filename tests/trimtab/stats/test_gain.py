"""The gain test: bound, floor, size and power."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from trimtab.stats.gain import gain_power, superiority
from trimtab.stats.tango import PairedCounts, loss_bound

ALPHA = 0.05


def test_a_clear_gain_passes() -> None:
    result = superiority(PairedCounts(n=200, lost=5, gained=30), min_gain=0.01, alpha=ALPHA)
    assert result.passed
    assert result.gain == pytest.approx(0.125)
    assert 0.0 < result.bound < result.gain
    assert result.p_value < 1e-4


def test_a_gain_below_the_floor_fails_although_it_is_significant() -> None:
    counts = PairedCounts(n=20_000, lost=10, gained=110)
    result = superiority(counts, min_gain=0.01, alpha=ALPHA)
    assert result.bound > 0.0
    assert not result.passed


@pytest.mark.parametrize("lost, gained", [(20, 20), (0, 0), (30, 5)])
def test_no_gain_fails(lost: int, gained: int) -> None:
    assert not superiority(PairedCounts(200, lost, gained), min_gain=0.01, alpha=ALPHA).passed


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_bound_mirrors_the_bound_of_the_loss(lost: int, gained: int) -> None:
    counts = PairedCounts(n=100, lost=lost, gained=gained)
    result = superiority(counts, min_gain=0.0, alpha=ALPHA)
    assert result.bound == -loss_bound(counts, ALPHA)
    assert result.bound <= result.gain
    # Above zero exactly when the score test at zero (McNemar) rejects.
    if lost + gained:
        z = (gained - lost) / np.sqrt(lost + gained)
        assert (result.bound > 1e-9) == (z > norm.isf(ALPHA) + 1e-9)


def test_size_without_a_gain_by_simulation() -> None:
    n, discordance, draws = 200, 0.2, 20_000
    shares = [discordance / 2, discordance / 2, 1 - discordance]
    drawn = np.random.default_rng(2).multinomial(n, shares, size=draws)
    lost, gained = drawn[:, 0], drawn[:, 1]
    passed = float(np.mean((gained - lost) / np.sqrt(np.maximum(lost + gained, 1)) > norm.isf(ALPHA)))
    low, high = (binom.ppf(q, draws, ALPHA) / draws for q in (0.001, 0.999))
    assert low - 0.01 < passed < high + 0.01
    assert gain_power(n, discordance, 0.0, 0.0, ALPHA) == pytest.approx(passed, abs=0.006)


def test_power_rises_with_examples_and_gain() -> None:
    small, large = (gain_power(n, 0.2, 0.08, 0.01, ALPHA) for n in (100, 400))
    assert small < large
    assert gain_power(200, 0.2, 0.04, 0.01, ALPHA) < gain_power(200, 0.2, 0.1, 0.01, ALPHA)


def test_power_by_simulation() -> None:
    n, draws = 150, 20_000
    drawn = np.random.default_rng(3).multinomial(n, [0.05, 0.15, 0.8], size=draws)
    lost, gained = drawn[:, 0], drawn[:, 1]
    z = (gained - lost) / np.sqrt(np.maximum(lost + gained, 1))
    passed = float(np.mean((z > norm.isf(ALPHA)) & ((gained - lost) >= 0.01 * n)))
    assert gain_power(n, 0.2, 0.1, 0.01, ALPHA) == pytest.approx(passed, abs=0.01)


def test_power_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="cannot happen"):
        gain_power(100, 0.02, 0.05, 0.01, ALPHA)
