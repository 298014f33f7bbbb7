from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import binom

from workers.gate.calibration import N_BINS, binned_gaps, calibration, ece, likelihood
from workers.gate.evidence import Rows
from workers.gate.verdict import Result


def answers(n: int, seed: int, *, sharpness: float = 1.0, k: int = 2) -> tuple[Any, Any]:
    """(n, k) log probabilities whose truth is drawn from them before they are made sharper."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.0, 1.5, size=(n, k))
    true = np.exp(log_softmax(scores, axis=1))
    truth = (true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return log_softmax(scores * sharpness, axis=1), truth


def by_hand(log_probabilities: Any, truth: Any) -> float:
    """ECE with 15 bins of equal mass, row by row."""
    confidence = [max(np.exp(row)) for row in log_probabilities]
    order = sorted(range(len(truth)), key=lambda i: confidence[i])
    total = 0.0
    for b in range(N_BINS):
        rows = [i for place, i in enumerate(order) if int(place / len(truth) * N_BINS) == b]
        right = sum(int(np.argmax(log_probabilities[i])) == truth[i] for i in rows)
        total += abs(sum(confidence[i] for i in rows) - right)
    return total / len(truth)


@pytest.mark.parametrize("n", [15, 100, 257])
def test_ece_by_hand(n: int) -> None:
    found, truth = answers(n, seed=n, sharpness=3.0, k=3)
    assert ece(found, truth, np.ones(n)) == pytest.approx(by_hand(found, truth), abs=1e-12)


def test_a_row_of_weight_two_counts_like_two_rows() -> None:
    found, truth = answers(60, seed=1)
    twice = np.repeat(np.arange(60), 2)
    weights = np.full(60, 2.0)
    assert ece(found, truth, weights) == pytest.approx(2 * ece(found[twice], truth[twice], np.ones(120)))


def test_bins_have_equal_mass() -> None:
    found, truth = answers(150, seed=2)
    gaps = binned_gaps(found, truth, np.ones(150))
    assert ((gaps != 0).sum(axis=0) == 10).all()
    assert ((gaps != 0).sum(axis=1) == 1).all()


def rows(n: int, seed: int = 0, *, noise: float = 0.0, sharpness: float = 1.0) -> Rows:
    """Champion calibrated; the candidate's ranking gets worse with the noise, its sureness with the sharpness."""
    found, truth = answers(n, seed)
    rng = np.random.default_rng(seed + 1000)
    worse = log_softmax((found + noise * rng.normal(size=found.shape)) * sharpness, axis=1)
    return Rows(truth=truth, incumbent=found, candidate=worse)


def test_the_same_version_passes_both() -> None:
    for check in (calibration(rows(400), 0.05), likelihood(rows(400), 0.05)):
        assert check.result is Result.PASS
        assert check.n == 400


def test_sureness_alone_is_no_fault_because_a_temperature_mends_it() -> None:
    sharper = rows(1000, sharpness=4.0)
    assert calibration(sharper, 0.05).result is Result.PASS
    assert likelihood(sharper, 0.05).result is Result.PASS
    assert "as served" in calibration(sharper, 0.05).detail


def twisted(n: int, seed: int) -> Rows:
    """A candidate that is sure where it is wrong: no temperature mends that."""
    found, truth = answers(n, seed)
    rng = np.random.default_rng(seed)
    sure = rng.random(n) < 0.3
    scores = found.copy()
    scores[sure] = log_softmax(rng.normal(size=(n, 2)) * 20, axis=1)[sure]
    return Rows(truth=truth, incumbent=found, candidate=scores)


def test_sure_and_wrong_fails() -> None:
    bad = twisted(1500, seed=3)
    found = calibration(bad, 0.05)
    assert found.result is Result.FAIL
    assert found.value is not None
    assert found.bound is not None
    assert found.limit < found.bound < found.value
    assert likelihood(bad, 0.05).result is Result.FAIL


def test_a_worse_ranking_fails_on_the_likelihood() -> None:
    assert likelihood(rows(1500, noise=3.0), 0.05).result is Result.FAIL


def test_few_rows_say_nothing() -> None:
    for check in (calibration(twisted(99, 1), 0.05), likelihood(twisted(99, 1), 0.05)):
        assert check.result is Result.INSUFFICIENT
        assert check.value is None


def test_equals_fail_no_more_often_than_the_level() -> None:
    """Two noisy versions of one model, equally good: the guards reject at most 5 %, within the binomial's band."""
    failed = np.zeros(2, dtype=int)
    draws = 100
    for seed in range(draws):
        found, truth = answers(300, seed)
        rng = np.random.default_rng(seed + 5000)
        one, two = (log_softmax(found + 0.3 * rng.normal(size=found.shape), axis=1) for _ in range(2))
        pair = Rows(truth=truth, incumbent=one, candidate=two)
        failed += [
            calibration(pair, 0.05).result is Result.FAIL,
            likelihood(pair, 0.05).result is Result.FAIL,
        ]
    assert (failed <= binom.ppf(0.999, draws, 0.05)).all()
