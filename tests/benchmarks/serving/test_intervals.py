"""Intervals: exact coverage by counting, by simulation, and what cannot be said from few values."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from benchmarks.serving.intervals import (
    median_interval,
    paired_difference,
    percentile,
    ratio_interval,
    slope_interval,
)


def test_nine_rounds_give_the_second_and_the_eighth() -> None:
    found = median_interval([9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0])
    assert (found.value, found.low, found.high, found.n) == (5.0, 2.0, 8.0, 9)
    assert found.coverage == pytest.approx(1 - 2 * (1 + 9) / 2**9)


def test_too_few_values_give_the_range_and_say_so() -> None:
    found = median_interval([3.0, 1.0, 2.0])
    assert (found.low, found.high) == (1.0, 3.0)
    assert found.coverage == pytest.approx(0.75)
    assert median_interval([4.0]).coverage == 0.0


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


@pytest.mark.parametrize("n", [6, 9, 12])
def test_the_coverage_is_that_of_every_pattern_of_signs(n: int) -> None:
    """The interval misses the median when all but few values lie on one side: counted over all 2^n patterns."""
    found = median_interval([float(i) for i in range(n)])
    rank = int(found.low) + 1
    covered = sum(rank <= sum(signs) <= n - rank for signs in product((0, 1), repeat=n))
    assert covered / 2**n == pytest.approx(found.coverage)
    assert found.coverage >= 0.95


def test_the_median_is_covered_as_often_as_is_said() -> None:
    """2,000 samples of a skewed distribution; the band is four standard deviations of the binomial."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        found = median_interval(rng.exponential(size=9).tolist())
        hits += found.low <= np.log(2) <= found.high
    coverage = median_interval([0.0] * 9).coverage
    assert abs(hits / 2000 - coverage) < 4 * np.sqrt(coverage * (1 - coverage) / 2000)


def test_what_slows_a_whole_round_cancels_in_ratios() -> None:
    slow = np.array([1.0, 5.0, 2.0, 9.0, 1.0, 3.0, 4.0, 1.0, 7.0])
    found = ratio_interval((3 * slow).tolist(), slow.tolist())
    assert (found.value, found.low, found.high) == (3.0, 3.0, 3.0)


def test_ratios_need_pairs() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio_interval([1.0, 2.0], [1.0])


def test_a_slope_is_found_and_outliers_do_not_move_it() -> None:
    x = list(range(40))
    y = [2.0 + 0.5 * value for value in x]
    y[7] = 1e6
    found = slope_interval(x, y)
    assert found.value == pytest.approx(0.5)
    assert found.low <= 0.5 <= found.high


def test_noise_without_a_slope_has_zero_in_its_interval() -> None:
    """The interval misses 0 once in twenty: of 200 samples, within four standard deviations."""
    rng = np.random.default_rng(1)
    found = [slope_interval(range(30), rng.normal(size=30).tolist()) for _ in range(200)]
    missed = sum(not each.low <= 0 <= each.high for each in found)
    assert abs(missed - 10) < 4 * np.sqrt(200 * 0.05 * 0.95)


def test_a_slope_needs_three_points() -> None:
    with pytest.raises(ValueError, match="three"):
        slope_interval([0, 1], [1.0, 2.0])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)])
def test_percentiles_are_values_that_occurred(share: float, expected: float) -> None:
    assert percentile([float(i) for i in range(100, 0, -1)], share) == expected


def test_a_percentile_of_one_value_is_it_and_of_none_is_not_a_number() -> None:
    assert percentile([7.0], 0.99) == 7.0
    assert np.isnan(percentile([], 0.5))


def test_a_difference_of_paired_shares() -> None:
    found = paired_difference(30, 10, 1000)
    assert found.value == pytest.approx(0.02)
    assert 0 < found.low < found.value < found.high
    assert paired_difference(20, 20, 1000).value == 0.0


def test_the_paired_interval_covers_the_true_difference() -> None:
    rng = np.random.default_rng(2)
    n, only_first, only_second = 400, 0.03, 0.02
    covered = 0
    for _ in range(1000):
        b, c, _ = rng.multinomial(n, [only_first, only_second, 1 - only_first - only_second])
        found = paired_difference(int(b), int(c), n)
        covered += found.low <= only_first - only_second <= found.high
    assert covered / 1000 > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 1000)


def test_more_discordant_pairs_than_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="discordant"):
        paired_difference(3, 3, 5)


def test_an_estimate_reads_as_in_the_report() -> None:
    assert median_interval([1.0, 2.0, 3.0]).text(1) == "2.0 [1.0, 3.0]"
