"""Binned D stays within its bound of scipy's; counts add up to the last bit, whatever is in the rows."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ks_2samp

from monitoring.histograms import (
    BINS,
    bin_rows,
    count,
    distribution,
    energy,
    fit_edges,
    ks_binned,
)

FEW_VALUES = st.integers(-3, 3).map(float)  # ties everywhere
ANY_VALUES = st.floats(-1e6, 1e6, allow_nan=False, width=32)
NAN = st.just(float("nan"))


def rows(values: st.SearchStrategy[float], most: int = 90) -> st.SearchStrategy[np.ndarray]:
    shape = st.tuples(st.integers(2, most), st.just(3))
    return shape.flatmap(lambda size: arrays(np.float32, size, elements=values))


def binned_ks(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    edges = fit_edges([reference])
    a, b = (distribution(count(bin_rows(edges, each))) for each in (reference, window))
    return ks_binned(a, b)


def largest_tie(column: np.ndarray) -> float:
    return float(np.unique(column, return_counts=True)[1].max() / len(column))


@settings(max_examples=80, deadline=None)
@given(reference=rows(FEW_VALUES | ANY_VALUES), window=rows(FEW_VALUES | ANY_VALUES))
def test_binning_loses_at_most_a_bin_and_a_tie(reference: np.ndarray, window: np.ndarray) -> None:
    for f, binned in enumerate(binned_ks(reference, window)):
        exact = ks_2samp(reference[:, f], window[:, f], method="asymp").statistic
        assert -1e-12 <= exact - binned <= 1 / BINS + largest_tie(reference[:, f]) + 1e-12


def test_binning_loses_little_on_a_full_size_window() -> None:
    random = np.random.default_rng(0)
    reference, window = random.normal(size=(2000, 43)), random.normal(0.2, 1.1, size=(500, 43))
    exact = [ks_2samp(a, b, method="asymp").statistic for a, b in zip(reference.T, window.T, strict=True)]
    loss = np.array(exact) - binned_ks(reference, window)
    assert loss.min() >= -1e-12
    assert loss.max() <= 1 / BINS


@settings(max_examples=40, deadline=None)
@given(rows=rows(FEW_VALUES | ANY_VALUES | NAN), cut=st.integers(0, 90), data=st.data())
def test_counts_of_any_partition_add_up(rows: np.ndarray, cut: int, data: st.DataObject) -> None:
    edges = fit_edges([rows])
    order = data.draw(st.permutations(range(len(rows))))
    whole = count(bin_rows(edges, rows))
    parts = [count(bin_rows(edges, rows[order[:cut]])), count(bin_rows(edges, rows[order[cut:]]))]
    assert (parts[0] + parts[1] == whole).all()
    assert (whole.sum(axis=1) == len(rows)).all()


@settings(max_examples=40, deadline=None)
@given(reference=rows(FEW_VALUES | ANY_VALUES), window=rows(FEW_VALUES | ANY_VALUES | NAN))
def test_a_value_on_an_edge_lies_left_of_it(reference: np.ndarray, window: np.ndarray) -> None:
    edges = fit_edges([reference])
    expected = (window[:, :, None] > edges).sum(axis=2)
    expected[np.isnan(window)] = BINS - 1
    np.testing.assert_array_equal(bin_rows(edges, window), expected)


def test_bins_of_a_continuous_reference_are_equally_full() -> None:
    reference = np.random.default_rng(1).normal(size=(64 * 50, 4))
    assert (count(bin_rows(fit_edges([reference]), reference)) == 50).all()


def test_domains_weigh_the_same_whatever_their_size() -> None:
    random = np.random.default_rng(2)
    small, large = random.uniform(0, 1, size=(200, 1)), random.uniform(1, 2, size=(4000, 1))
    edges = fit_edges([small, large])
    assert int((edges < 1).sum()) == pytest.approx(BINS / 2, abs=1)


def test_nan_ranks_above_every_number() -> None:
    reference = np.array([[0.0], [1.0], [np.nan], [np.nan]])
    window = np.full((10, 1), np.nan)
    assert bin_rows(fit_edges([reference]), window).tolist() == [[BINS - 1]] * 10
    assert binned_ks(reference, window).tolist() == [0.5]
    assert binned_ks(window, reference).tolist() == [0.5]
    assert binned_ks(np.zeros((10, 1)), window).tolist() == [1.0]


def test_infinite_values_are_values() -> None:
    reference = np.array([[-np.inf], [0.0], [np.inf]])
    assert binned_ks(reference, reference).tolist() == [0.0]
    assert binned_ks(reference, np.full((5, 1), -np.inf)).tolist() == [pytest.approx(2 / 3)]


def test_the_reference_itself_is_at_distance_zero() -> None:
    reference = np.random.default_rng(3).normal(size=(100, 4))
    assert binned_ks(reference, reference).max() == 0.0


def test_order_of_rows_and_monotone_scales_do_not_matter() -> None:
    random = np.random.default_rng(4)
    reference, window = random.normal(size=(200, 3)), random.normal(0.3, 1, size=(80, 3))
    expected = binned_ks(reference, window)
    shuffled = binned_ks(random.permutation(reference), random.permutation(window))
    np.testing.assert_array_equal(shuffled, expected)
    np.testing.assert_array_equal(binned_ks(np.exp(reference), np.exp(window)), expected)


def test_permuting_features_permutes_d_and_keeps_the_energy() -> None:
    random = np.random.default_rng(5)
    reference, window = random.normal(size=(200, 5)), random.normal(0.3, 1, size=(80, 5))
    order = random.permutation(5)
    plain, permuted = binned_ks(reference, window), binned_ks(reference[:, order], window[:, order])
    np.testing.assert_array_equal(permuted, plain[order])
    assert energy(permuted) == pytest.approx(energy(plain), abs=1e-15)


def test_a_constant_feature_adds_no_energy() -> None:
    random = np.random.default_rng(6)
    reference, window = random.normal(size=(200, 2)), random.normal(size=(80, 2))
    wider = binned_ks(np.column_stack([reference, np.ones(200)]), np.column_stack([window, np.ones(80)]))
    assert wider[-1] == 0.0
    assert energy(wider) == energy(binned_ks(reference, window))


def test_a_larger_shift_has_more_energy() -> None:
    random = np.random.default_rng(7)
    reference, window = random.normal(size=(2000, 5)), random.normal(size=(500, 5))
    energies = [energy(binned_ks(reference, window + shift)) for shift in (0.0, 0.1, 0.2, 0.4, 0.8)]
    assert energies == sorted(energies)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_an_empty_reference_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rows and features"):
        fit_edges([np.empty(shape)])
    with pytest.raises(ValueError, match="at least one domain"):
        fit_edges([])


def test_rows_with_other_features_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        bin_rows(fit_edges([np.zeros((5, 2))]), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="same features"):
        fit_edges([np.zeros((5, 2)), np.zeros((5, 3))])


def test_blocks_of_fifty_take_microseconds_an_event() -> None:
    random = np.random.default_rng(8)
    reference = random.normal(size=(2000, 43)).astype(np.float32)
    edges, block = fit_edges([reference]), reference[:50]
    times = []
    for _ in range(20):
        began = time.process_time()
        for _ in range(10):
            count(bin_rows(edges, block))
        times.append((time.process_time() - began) / 500)
    assert min(times) < 20e-6  # measured 2.3e-6; the bound leaves room for a slower machine
