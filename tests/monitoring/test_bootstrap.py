"""Streams scored at once have the very scores that the detector reads block by block; draws are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring import bootstrap
from monitoring.bootstrap import count_blocks, draw, first_look, score
from monitoring.detector import Detector, Windows
from monitoring.histograms import BINS, bin_rows, count, distribution
from monitoring.mixture import KnownDomains, know_domains

D = 4
WINDOWS = Windows(block=20, short=100, long=1000)


def gaussian(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


def cells(known: KnownDomains, rows: np.ndarray) -> np.ndarray:
    return np.asarray(bin_rows(known.edges, rows) + BINS * np.arange(D, dtype=np.int32))


@pytest.fixture(scope="module")
def known() -> KnownDomains:
    return know_domains({"a": gaussian(600, 0)})


def test_blocks_are_counted_one_by_one(known: KnownDomains) -> None:
    rows = gaussian(100, 1)
    counts = count_blocks(cells(known, rows), 5)
    for i, found in enumerate(counts):
        np.testing.assert_array_equal(found, count(bin_rows(known.edges, rows[20 * i : 20 * i + 20])))


def test_scores_are_what_the_detector_reads(known: KnownDomains) -> None:
    rows = gaussian(2000, 2)
    scores = score(count_blocks(cells(known, rows), 100), known.distributions[0], 600, WINDOWS)
    detector, readings = Detector(known, WINDOWS), []
    for block in rows.reshape(100, 20, D):
        detector.take(block)
        readings.append(detector.read())
    looked = readings[first_look(WINDOWS) - 1 :]
    np.testing.assert_allclose(scores.e_detector, [each.e_detector for each in looked], atol=1e-4)
    np.testing.assert_allclose(scores.short, [each.short[0].energy for each in looked], rtol=1e-4)
    long = [each.long[0].energy for each in looked if each.long is not None]
    np.testing.assert_allclose(scores.long, long, rtol=1e-4)


@pytest.mark.parametrize(("long", "expected"), [(1000, 50), (400, 40)])
def test_the_first_look_has_full_windows_and_a_settled_e_detector(long: int, expected: int) -> None:
    assert first_look(Windows(block=20, short=100, long=long)) == expected


def test_a_bet_that_gains_is_told(known: KnownDomains) -> None:
    quiet = score(count_blocks(cells(known, gaussian(1600, 3)), 80), known.distributions[0], 600, WINDOWS)
    moved = score(count_blocks(cells(known, gaussian(1600, 3) + 1), 80), known.distributions[0], 600, WINDOWS)
    assert (quiet.growing, moved.growing) == (False, True)
    assert moved.short.min() > quiet.short.max()


@pytest.mark.parametrize("length", [1, 7, 40])
def test_rows_are_drawn_evenly_and_in_circular_stretches(length: int) -> None:
    rows = bootstrap._rows(40, 4000, length, np.random.default_rng(4))
    assert len(rows) == 4000
    counts = np.bincount(rows, minlength=40)
    assert counts.min() > 0
    steps = np.diff(
        rows.reshape(-1, length)
        if 4000 % length == 0
        else rows[: 4000 // length * length].reshape(-1, length)
    )
    assert set(np.unique(steps)) <= {1, -39}


def test_the_reference_is_redrawn_and_the_seed_decides(known: KnownDomains) -> None:
    bins = bin_rows(known.edges, known.rows[0])
    first, again, other = (draw(bins, WINDOWS, 60, 1, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.short.tolist() == again.short.tolist()
    assert first.e_detector.tolist() == again.e_detector.tolist()
    assert first.short.tolist() != other.short.tolist()
    assert first.short.shape == first.long.shape == first.e_detector.shape == (60 - first_look(WINDOWS) + 1,)


def test_a_redrawn_reference_adds_its_own_error() -> None:
    """Long windows against n rows: the mean energy of a uniform null is about (1/n + 1/m) times a constant."""
    random, constant = np.random.default_rng(7), []
    for n in (500, 1000, 4000):
        known = know_domains({"a": random.normal(size=(n, 30))})
        bins = bin_rows(known.edges, known.rows[0])
        mean = np.mean([draw(bins, WINDOWS, 120, 1, random).long.mean() for _ in range(12)])
        constant.append(mean / (30 * (1 / n + 1 / 1000)))
    assert constant == pytest.approx(
        [0.72] * 3, rel=0.15
    )  # E[K^2] = pi^2 / 12 = 0.82 of Kolmogorov's K, less bins


def test_sums_stay_exact_over_a_long_stream() -> None:
    counts = np.zeros((3000, 1, BINS), dtype=np.float32)
    counts[:, 0, 5] = 50
    sums = bootstrap._running_sums(counts)
    assert sums[-1, 0, 5] == 150_000
    assert distribution(counts[0].astype(np.int64))[0, 4] == 0.0
