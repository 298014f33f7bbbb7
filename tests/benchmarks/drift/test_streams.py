"""Traffic without drift: splits share no row, sessions have their length, shares are what was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drift.streams import correlated_gaussians, in_sessions, independent, kmeans, mixed

POOL = np.arange(1000, 9000)
CLUSTERS = np.repeat(np.arange(8), 1000)


def test_a_split_shares_no_row_and_is_fresh() -> None:
    first, second = (independent(POOL, 2000, 6000, np.random.default_rng(seed)) for seed in (1, 2))
    assert sorted([*first.reference, *first.stream]) == sorted(POOL)
    assert len(first.reference) == 2000
    assert not np.array_equal(first.reference, second.reference)


def test_a_pool_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="8000 rows are no reference of 2000"):
        independent(POOL, 2000, 6001, np.random.default_rng(0))


@pytest.mark.parametrize("mean", [5, 20])
def test_sessions_stay_in_a_cluster_for_their_length(mean: int) -> None:
    split = in_sessions(POOL, CLUSTERS, mean, 2000, 6000, np.random.default_rng(3))
    order = np.concatenate([split.reference, split.stream])
    assert sorted(order) == sorted(POOL)
    cluster = CLUSTERS[order - 1000]
    stays = (cluster[1:] == cluster[:-1]).mean()
    # Inside a session always, at its end by chance one time in eight.
    expected = 1 - 7 / 8 / mean
    assert abs(stays - expected) < 5 * np.sqrt(expected * (1 - expected) / len(order))


def test_sessions_do_not_drift() -> None:
    """The clusters' shares in both halves differ by chance only; sessions of 20 make 400 of them in 8,000 events."""
    split = in_sessions(POOL, CLUSTERS, 20, 4000, 4000, np.random.default_rng(4))
    old, new = (
        np.bincount(CLUSTERS[part - 1000], minlength=8) / 4000 for part in (split.reference, split.stream)
    )
    # A session of geometric length carries 2 L^2 events squared: the variance of a share is 2 L p (1 - p) / n, twice.
    spread = np.sqrt(2 * 2 * 20 * (1 / 8) * (7 / 8) / 4000)
    assert np.abs(old - new).max() < 4 * spread


def test_gaussians_are_correlated_as_asked() -> None:
    rows = correlated_gaussians(20_000, 4, 0.9, np.random.default_rng(5))
    correlation = np.asarray(np.corrcoef(rows.T))
    off = correlation[np.triu_indices(4, 1)]
    assert np.abs(off - 0.9).max() < 5 * (1 - 0.81) / np.sqrt(20_000)
    assert abs(np.asarray(np.corrcoef(rows[1:, 0], rows[:-1, 0]))[0, 1]) < 4 / np.sqrt(20_000)


def test_clusters_are_found() -> None:
    random = np.random.default_rng(6)
    truth = np.repeat(np.arange(3), 200)
    states = (random.normal(size=(600, 5)) + 20 * np.eye(5)[truth]).astype(np.float32)
    found = kmeans(states, 3)
    assert [len(set(found[truth == c])) for c in range(3)] == [1, 1, 1]
    assert len(set(found)) == 3


def test_a_mixture_has_the_shares_and_repeats_no_row() -> None:
    parts = [np.arange(5000), np.arange(5000, 8000)]
    index = mixed(parts, [0.7, 0.3], 4000, np.random.default_rng(7))
    assert len(set(index)) == 4000
    share = (index >= 5000).mean()
    assert abs(share - 0.3) < 4 * np.sqrt(0.21 / 4000)
    # In random order: the first half has the same share.
    assert abs((index[:2000] >= 5000).mean() - 0.3) < 4 * np.sqrt(0.21 / 2000)


def test_a_part_that_is_used_up_is_refused() -> None:
    with pytest.raises(ValueError, match="part 1 has 10 rows"):
        mixed([np.arange(100), np.arange(10)], [0.5, 0.5], 90, np.random.default_rng(8))
