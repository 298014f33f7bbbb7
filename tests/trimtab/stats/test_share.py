"""Wilson's interval against published numbers, scipy's own, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from trimtab.stats.share import difference_bound, wilson


def test_nothing_is_known_of_nothing() -> None:
    assert wilson(0, 0) is None


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (1, 1), (7, 20), (544, 600), (300, 600)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_it_is_the_interval_of_scipy(hits: int, n: int, level: float) -> None:
    found = wilson(hits, n, level)
    expected = binomtest(hits, n).proportion_ci(level, method="wilson")
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (found.share, found.n) == (hits / n, n)
    assert found.half_width == pytest.approx((expected.high - expected.low) / 2)


def test_half_a_thousand_labels_make_three_points() -> None:
    """n = p (1 - p) (1.96 / 0.03)^2: 544 at an accuracy of .85."""
    tight, wide = wilson(465, 547), wilson(400, 471)
    assert tight is not None
    assert wide is not None
    assert tight.half_width <= 0.03 < wide.half_width


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_it_covers_the_truth_as_often_as_it_says(share: float) -> None:
    n = 200
    intervals = [wilson(hits, n) for hits in range(n + 1)]
    covered = np.array([each is not None and each.low <= share <= each.high for each in intervals])
    assert 0.93 <= binom.pmf(np.arange(n + 1), n, share)[covered].sum() <= 0.97


def test_the_difference_of_newcombe_s_table() -> None:
    """R. G. Newcombe 1998, table II, case (a): 56 of 70 and 48 of 80, method 10: 0.0524 to 0.3339 (two-sided 95 %)."""
    assert difference_bound(56, 70, 48, 80, level=0.975) == pytest.approx(0.3339, abs=5e-5)
    assert -difference_bound(48, 80, 56, 70, level=0.975) == pytest.approx(0.0524, abs=5e-5)


def test_nothing_bounds_no_difference() -> None:
    with pytest.raises(ValueError, match="observations"):
        difference_bound(1, 2, 0, 0)


@pytest.mark.parametrize(("one", "other"), [(0.8, 0.8), (0.9, 0.85), (0.95, 0.97)])
def test_the_bound_holds_as_often_as_it_says(one: float, other: float) -> None:
    """Every pair of counts, by its probability; Newcombe's interval errs by a point or two."""
    n, m = 60, 40
    exact = np.outer(binom.pmf(np.arange(n + 1), n, one), binom.pmf(np.arange(m + 1), m, other))
    bounds = [[difference_bound(i, n, j, m, level=0.95) for j in range(m + 1)] for i in range(n + 1)]
    assert 0.93 <= exact[np.array(bounds) >= one - other].sum() <= 0.985
