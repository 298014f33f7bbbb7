"""Payoffs are fair, M grows as the theorem says, and alarms are as rare as it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monitoring.e_detector import (
    CEILING,
    N_BETS,
    advance,
    block_evidence,
    log10_statistic,
    log_payoffs,
    reach,
    start,
)
from monitoring.histograms import BINS, bin_rows, count, distribution, fit_edges

UNIFORM = np.arange(1, BINS + 1)[None, :] / BINS
COUNTS = arrays(np.int64, (3, BINS), elements=st.integers(0, 20)).filter(
    lambda each: each.sum(axis=1).min() > 0
)


@settings(max_examples=60, deadline=None)
@given(counts=COUNTS)
def test_every_payoff_has_mean_one_under_its_null(counts: np.ndarray) -> None:
    shares = counts / counts.sum(axis=1, keepdims=True)
    payoffs = np.exp(log_payoffs(distribution(counts)))
    assert payoffs.shape == (3, BINS, N_BETS)
    np.testing.assert_allclose(np.einsum("dk,dkb->db", shares, payoffs), 1.0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(counts=COUNTS, n=st.integers(50, 100_000))
def test_paying_for_the_reference_only_lowers_payoffs(counts: np.ndarray, n: int) -> None:
    null = distribution(counts)
    paid = log_payoffs(null) - log_payoffs(null, n)
    assert np.isfinite(paid).all()
    assert paid.min() >= -1e-12
    assert (log_payoffs(null, 10 * n) >= log_payoffs(null, n) - 1e-12).all()


def test_a_large_reference_pays_nothing() -> None:
    np.testing.assert_array_equal(log_payoffs(UNIFORM, 100_000), log_payoffs(UNIFORM))
    assert (log_payoffs(UNIFORM, 200) < log_payoffs(UNIFORM)).any()


def test_bets_shrink_even_when_the_reference_is_off_by_what_they_paid_for() -> None:
    """Ranks shifted by four standard errors of n reference rows, in either direction: log M still falls."""
    for n in (100, 500, 2000, 20_000):
        off = 4 * math.sqrt(1 / 3 / n) / 2  # of the mean rank
        for sign in (-1, 1):
            density = 1 + sign * 12 * off * (np.arange(BINS) + 0.5 - BINS / 2) / BINS
            gain = np.einsum("k,kb->b", density / density.sum(), log_payoffs(UNIFORM, n)[0])
            assert gain[:4].max() < 0


def test_it_begins_with_nothing() -> None:
    assert start(3).shape == (3, N_BETS)
    assert log10_statistic(start(3)) == -math.inf


def test_one_step_is_the_recursion() -> None:
    random = np.random.default_rng(0)
    payoffs, m = log_payoffs(distribution(random.integers(1, 9, size=(2, BINS)))), np.zeros((2, N_BETS))
    log_m = start(2)
    for _ in range(4):
        counts = random.multinomial(20, np.ones(BINS) / BINS, size=2)
        growth = np.exp([[sum(counts[f] * payoffs[f, :, b]) for b in range(N_BETS)] for f in range(2)])
        m, log_m = (m + 1) * growth, advance(log_m, counts, payoffs)
        np.testing.assert_allclose(np.exp(log_m), m)
        assert log10_statistic(log_m) == pytest.approx(math.log10(m.mean()))


def test_many_blocks_at_once_have_the_evidence_of_each() -> None:
    random = np.random.default_rng(1)
    counts, payoffs = random.integers(0, 5, size=(6, 2, BINS)), log_payoffs(np.repeat(UNIFORM, 2, axis=0))
    together = block_evidence(counts, payoffs)
    for block, found in zip(counts, together, strict=True):
        np.testing.assert_allclose(advance(start(2), block, payoffs), found)  # log(0 + 1) = 0


def constant_drift(blocks: int) -> np.ndarray:
    """Log M of one feature after blocks that lie wholly in the last bin."""
    log_m, last = start(1), np.zeros((1, BINS), dtype=np.int64)
    last[0, -1] = 50
    for _ in range(blocks):
        log_m = advance(log_m, last, log_payoffs(UNIFORM))
    return log_m


def test_it_stops_at_its_ceiling() -> None:
    assert log10_statistic(constant_drift(1)) < log10_statistic(constant_drift(2))
    assert constant_drift(200).max() == CEILING
    assert reach(1) <= log10_statistic(constant_drift(200)) <= CEILING / math.log(10)


def test_one_bet_of_one_feature_reaches_what_is_promised() -> None:
    log_m = np.full((43, N_BETS), -30.0)
    log_m[5, 2] = CEILING
    assert log10_statistic(log_m) == pytest.approx(reach(43))


def test_after_a_drift_that_ended_it_falls_within_two_thousand_events() -> None:
    random, log_m = np.random.default_rng(5), constant_drift(200)
    for counts in random.multinomial(50, np.full(BINS, 1 / BINS), size=(40, 1)):
        log_m = advance(log_m, counts, log_payoffs(UNIFORM))
    assert log10_statistic(log_m) < 2


def simulate(runs: int, blocks: int, seed: int, size: int = 4) -> np.ndarray:
    """Mean M over bets after each block of `size` uniform ranks, (runs, blocks)."""
    random = np.random.default_rng(seed)
    payoffs = log_payoffs(np.repeat(UNIFORM, runs, axis=0))
    log_m, found = start(runs), np.empty((runs, blocks))
    for b in range(blocks):
        counts = random.multinomial(size, np.full(BINS, 1 / BINS), size=runs)
        log_m = advance(log_m, counts, payoffs)
        found[:, b] = np.exp(log_m).mean(axis=1)
    return found


def test_the_mean_after_b_blocks_is_b() -> None:
    """Monte Carlo within four standard errors; blocks small enough that the mean is not carried by rare giants."""
    found = simulate(runs=8000, blocks=6, seed=2)
    error = found.std(axis=0) / math.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - np.arange(1, 7)) < 4 * error).all()
    assert error[-1] < 0.5


def test_alarms_at_a_come_after_a_blocks_on_average() -> None:
    """Censored run lengths bound the average from below; 4 standard errors of room."""
    threshold, blocks = 30.0, 200
    crossed = simulate(runs=1500, blocks=blocks, seed=3) >= threshold
    lengths = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, blocks)
    assert lengths.mean() + 4 * lengths.std() / math.sqrt(len(lengths)) >= threshold
    assert crossed.any(axis=1).mean() > 0.5  # they do come


@pytest.mark.parametrize("kind", ["location", "scale"])
def test_a_change_makes_it_grow_and_more_change_faster(kind: str) -> None:
    random = np.random.default_rng(4)
    reference = random.normal(size=(5000, 3))
    edges = fit_edges([reference])
    payoffs = log_payoffs(distribution(count(bin_rows(edges, reference))), 5000)
    found = []
    for size in (0.0, 0.5, 1.0):
        rows = random.normal(size=(300, 3))
        rows = rows + size if kind == "location" else rows * (1 + size)
        log_m = start(3)
        for block in rows.reshape(-1, 50, 3):
            log_m = advance(log_m, count(bin_rows(edges, block)), payoffs)
        found.append(log10_statistic(log_m))
    assert found[0] < 2 < found[1] < found[2]


def test_a_constant_feature_never_bets() -> None:
    counts = np.zeros((1, BINS), dtype=np.int64)
    counts[0, 7] = 50
    assert block_evidence(counts, log_payoffs(distribution(counts))).tolist() == [[0.0] * N_BETS]


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.003, 0.02])
def test_features_that_are_nearly_always_the_same_do_not_switch_it_off(rate: float) -> None:
    """Shares of scripts and digits are; a bet on the error of their few reference rows must not grow."""
    random = np.random.default_rng(0)
    n_features, n_rows = 40, 2_000
    reference = (random.random((n_rows, n_features)) < rate).astype(np.float64)
    edges = fit_edges([reference])
    payoffs = log_payoffs(distribution(count(bin_rows(edges, reference))), n_rows)
    fresh = (random.random((50_000, n_features)) < rate).astype(np.float64)
    evidence = block_evidence(count(bin_rows(edges, fresh)), payoffs) / len(fresh)
    assert evidence.max() < 0.0


def test_a_value_that_the_reference_never_had_is_noticed() -> None:
    reference = np.zeros((2_000, 1))
    edges = fit_edges([reference])
    payoffs = log_payoffs(distribution(count(bin_rows(edges, reference))), len(reference))
    log_m = start(1)
    for _ in range(10):
        block = np.zeros((50, 1))
        block[:5] = 0.2  # one text in ten has a letter of a script that was never seen
        log_m = advance(log_m, count(bin_rows(edges, block)), payoffs)
    assert log10_statistic(log_m) > 6.0
