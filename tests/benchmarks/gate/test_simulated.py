from __future__ import annotations

import pytest
from scipy.stats import binom

from benchmarks.gate.report import BAND, GOOD
from benchmarks.gate.simulated import Tally, Truth, promotions

BETTER = Truth.of(1000, 0.08, -0.05)


@pytest.mark.parametrize(("n", "discordance"), [(300, 0.05), (1000, 0.08)])
def test_at_the_margin_at_most_the_level_is_promoted(n: int, discordance: float) -> None:
    found = promotions(Truth.of(n, discordance, 0.03), BETTER, 150, seed=1, whole=False)
    assert found.promoted <= binom.ppf(BAND, 150, 0.05)


def test_good_candidates_are_promoted() -> None:
    """With every check: within the binomial's band of the goal."""
    found = promotions(Truth.of(1000, 0.08, 0.0), BETTER, 40, seed=2)
    assert found.promoted >= binom.ppf(1 - BAND, 40, GOOD)
    assert found.rejected == 0


def test_no_gain_is_never_promoted_by_the_other_checks() -> None:
    found = promotions(Truth.of(1000, 0.08, 0.0), Truth.of(1000, 0.08, 0.0), 40, seed=3)
    assert found.promoted <= binom.ppf(BAND, 40, 0.05)
    assert found.in_the_way["gain"] == 40 - found.promoted


def test_a_tally_counts_every_draw() -> None:
    found = promotions(Truth.of(300, 0.15, 0.05), BETTER, 25, seed=4, whole=False)
    assert isinstance(found, Tally)
    assert found.promoted + found.held + found.rejected == found.draws == 25


def test_shares_of_a_truth() -> None:
    found = Truth.of(100, 0.08, -0.05)
    assert (found.lost, found.gained) == pytest.approx((0.015, 0.065))
