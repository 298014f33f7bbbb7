"""D equals scipy's for any arrays, with ties; what leaves it unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ks_2samp

from monitoring.ks import energy, ks_statistics, sort_columns, sort_reference

FEW_VALUES = st.integers(-3, 3).map(float)  # ties everywhere
ANY_VALUES = st.floats(-1e6, 1e6, allow_nan=False, width=32)


def rows(values: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    shape = st.tuples(st.integers(2, 40), st.just(3))
    return shape.flatmap(lambda size: arrays(np.float32, size, elements=values))


@settings(max_examples=60, deadline=None)
@given(reference=rows(FEW_VALUES | ANY_VALUES), window=rows(FEW_VALUES | ANY_VALUES))
def test_equals_scipy_with_ties(reference: np.ndarray, window: np.ndarray) -> None:
    expected = [ks_2samp(a, b, method="asymp").statistic for a, b in zip(reference.T, window.T, strict=True)]
    np.testing.assert_allclose(ks_statistics(sort_reference(reference), window), expected, atol=1e-12)


def test_equals_scipy_on_a_full_size_window() -> None:
    random = np.random.default_rng(0)
    reference, window = random.normal(size=(2000, 43)), random.normal(0.2, 1.1, size=(500, 43))
    window[:, :5] = window[:, :5].round(1)
    expected = [ks_2samp(a, b, method="asymp").statistic for a, b in zip(reference.T, window.T, strict=True)]
    np.testing.assert_allclose(ks_statistics(sort_reference(reference), window), expected, atol=1e-12)


def test_the_reference_itself_is_at_distance_zero() -> None:
    reference = np.random.default_rng(1).normal(size=(100, 4))
    assert ks_statistics(sort_reference(reference), reference).max() == 0.0


def test_separated_windows_are_at_distance_one() -> None:
    assert ks_statistics(sort_reference(np.zeros((10, 2))), np.ones((7, 2))).tolist() == [1.0, 1.0]


def test_order_of_rows_and_monotone_scales_do_not_matter() -> None:
    random = np.random.default_rng(2)
    reference, window = random.normal(size=(200, 3)), random.normal(0.3, 1, size=(80, 3))
    expected = ks_statistics(sort_reference(reference), window)
    shuffled = ks_statistics(sort_reference(random.permutation(reference)), random.permutation(window))
    scaled = ks_statistics(sort_reference(np.exp(reference)), np.exp(window))
    np.testing.assert_allclose(shuffled, expected)
    np.testing.assert_allclose(scaled, expected)


def test_a_constant_feature_adds_nothing() -> None:
    random = np.random.default_rng(3)
    reference, window = random.normal(size=(200, 2)), random.normal(size=(80, 2))
    plain = ks_statistics(sort_reference(reference), window)
    with_constant = ks_statistics(
        sort_reference(np.column_stack([reference, np.ones(200)])), np.column_stack([window, np.ones(80)])
    )
    assert energy(with_constant) == pytest.approx(energy(plain))
    assert with_constant[-1] == 0.0


def test_nan_ranks_above_every_number() -> None:
    reference, window = np.zeros((10, 1)), np.full((10, 1), np.nan)
    assert ks_statistics(sort_reference(reference), window).tolist() == [1.0]


def test_sort_columns_turns_rows_into_sorted_features() -> None:
    assert sort_columns(np.array([[3.0, 1.0], [2.0, 5.0]])).tolist() == [[2.0, 3.0], [1.0, 5.0]]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_an_empty_reference_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="needs rows and features"):
        sort_reference(np.empty(shape))
