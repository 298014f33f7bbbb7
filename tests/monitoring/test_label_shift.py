"""Label shift in a window: told from covariate shift by what is left once the classes are reweighted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from monitoring.histograms import BINS, Floats, bin_rows, count, distribution, energy, fit_edges, ks_binned
from monitoring.label_shift import Integers, find_label_shift, weighted_distribution
from monitoring.labelled import LabelledReference
from trimtab.drift import LabelShiftFound

LABELS = ("neg", "pos")
D = 8
MOVES = np.linspace(0.2, 1.4, D)  # how far the classes lie apart in each feature


def draw(n: int, positive: float, random: np.random.Generator) -> tuple[Floats, Integers, Integers]:
    """(n, D) rows, true and predicted labels of two normal classes; the model reads the last features."""
    truth = (random.random(n) < positive).astype(np.int64)
    rows = random.normal(size=(n, D)) + MOVES * (truth[:, None] - 0.5)
    return rows.astype(np.float32), truth, (rows[:, 4:].sum(axis=1) > 0).astype(np.int64)


def reference_of(n: int = 2000, positive: float = 0.5, seed: int = 0) -> LabelledReference:
    rows, truth, predicted = draw(n, positive, np.random.default_rng(seed))
    return LabelledReference(rows, truth, predicted, np.full(n, 1 / n))


REFERENCE = reference_of()
EDGES = fit_edges([REFERENCE.rows])


def threshold_of(m: int = 500) -> float:
    """The largest energy of 300 windows without drift."""
    random = np.random.default_rng(99)
    expected = distribution(count(bin_rows(EDGES, REFERENCE.rows)))
    windows = (distribution(count(bin_rows(EDGES, draw(m, 0.5, random)[0]))) for _ in range(300))
    return max(energy(ks_binned(expected, window)) for window in windows)


THRESHOLD = threshold_of()


def find(rows: Floats, predicted: Integers) -> LabelShiftFound:
    found = find_label_shift(REFERENCE, EDGES, rows, predicted, LABELS, threshold=THRESHOLD, n_reference=2000)
    assert found is not None
    return found


def test_a_label_shift_is_explained() -> None:
    random = np.random.default_rng(1)
    found = [find(*draw(500, 0.75, random)[::2]) for _ in range(50)]
    assert sum(each.explains for each in found) >= binom.ppf(0.001, 50, 0.98)
    assert np.mean([each.prior_after["pos"] for each in found]) == pytest.approx(0.75, abs=0.04)
    assert found[0].prior_before["pos"] == pytest.approx(REFERENCE.truth.mean())
    assert found[0].total_variation == pytest.approx(
        found[0].prior_after["pos"] - found[0].prior_before["pos"]
    )


def test_without_the_reweighting_it_would_have_been_an_alarm() -> None:
    rows, _, predicted = draw(500, 0.75, np.random.default_rng(2))
    expected = distribution(count(bin_rows(EDGES, REFERENCE.rows)))
    left = energy(ks_binned(expected, distribution(count(bin_rows(EDGES, rows))))) / THRESHOLD
    assert find(rows, predicted).residual < 1.0 < left


def test_a_covariate_shift_moves_the_answers_but_is_not_explained() -> None:
    """The trap of BBSE: it reports a shift of the classes where the inputs moved."""
    random = np.random.default_rng(3)
    for _ in range(20):
        rows = draw(500, 0.5, random)[0] + np.float32(0.35)
        found = find(rows, (rows[:, 4:].sum(axis=1) > 0).astype(np.int64))
        assert found.total_variation > 0.1
        assert found.residual > 1.0
        assert not found.explains


def test_without_a_shift_nothing_is_explained() -> None:
    random = np.random.default_rng(4)
    found = [find(*draw(500, 0.5, random)[::2]) for _ in range(100)]
    assert sum(each.explains for each in found) <= binom.ppf(0.9999, 100, 0.01)


def test_a_strong_shift_is_still_quiet_although_few_reference_rows_carry_it() -> None:
    """From 20 % to 80 %: the effective reference shrinks to half, and the threshold is raised for it."""
    skewed = reference_of(2000, 0.2, seed=5)
    edges = fit_edges([skewed.rows])
    random = np.random.default_rng(6)
    found = [
        find_label_shift(
            skewed, edges, *draw(500, 0.8, random)[::2], LABELS, threshold=THRESHOLD, n_reference=2000
        )
        for _ in range(30)
    ]
    assert sum(each is not None and each.explains for each in found) >= binom.ppf(0.001, 30, 0.95)


def test_too_few_labelled_rows_say_nothing() -> None:
    rows, _, predicted = draw(500, 0.75, np.random.default_rng(7))
    small = reference_of(60)
    assert find_label_shift(small, EDGES, rows, predicted, LABELS, threshold=1.0, n_reference=60) is None


def test_answers_that_are_not_known_do_not_count() -> None:
    rows, _, predicted = draw(500, 0.75, np.random.default_rng(8))
    some = predicted.copy()
    some[::2] = -1
    assert find(rows, some).prior_after["pos"] == pytest.approx(
        find(rows[1::2], predicted[1::2]).prior_after["pos"], abs=0.02
    )


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.integers(0, 99))
def test_weights_are_repetitions(times: list[int], seed: int) -> None:
    bins = np.random.default_rng(seed).integers(0, BINS, size=(len(times), 3)).astype(np.uint8)
    repeated = distribution(count(np.repeat(bins, times, axis=0)))
    assert np.allclose(weighted_distribution(bins, np.array(times, dtype=np.float64)), repeated)
