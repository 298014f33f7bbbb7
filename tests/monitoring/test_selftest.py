"""The self-test tells a reference that keeps its promise from one that does not, and says so in honest numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from monitoring import selftest as module
from monitoring.detector import Windows
from monitoring.selftest import SelfTest, selftest

WINDOWS = Windows(block=20, short=100, long=300)


def independent(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


def sessions(n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    session = np.cumsum(random.random(n) < 1 / 10)
    means = random.normal(size=(session[-1] + 1, 3))
    return np.asarray(means[session] + random.normal(size=(n, 3)), dtype=np.float32)


@pytest.fixture(scope="module")
def quiet() -> SelfTest:
    return selftest(independent(1200, 0), WINDOWS, ordered=False, run_length_events=2000, runs=25)


def test_independent_rows_keep_the_promise(quiet: SelfTest) -> None:
    assert quiet.held
    assert quiet.alarms <= binom.ppf(0.9999, 25, 1 - math.exp(-quiet.events / 2000))
    assert quiet.block_length == 1


def test_the_numbers_are_those_of_the_budget(quiet: SelfTest) -> None:
    assert (quiet.budget_events, quiet.runs) == (2000, 25)
    assert quiet.events == 600 - 100 + 20
    allowed = 1 - math.exp(-520 / 2000)
    assert quiet.expected == pytest.approx(25 * allowed)
    assert 0 <= quiet.low <= quiet.expected <= quiet.high <= 25
    assert binom.cdf(quiet.high, 25, allowed) - binom.cdf(quiet.low - 1, 25, allowed) >= 0.99
    assert quiet.realised_per_budget == pytest.approx(-math.log(1 - quiet.alarms / 25) * 2000 / 520)


def test_the_curve_ends_at_all_alarms_and_never_falls(quiet: SelfTest) -> None:
    shares = [point.share for point in quiet.curve]
    assert shares == sorted(shares)
    assert shares[-1] == quiet.alarms / quiet.runs
    assert quiet.curve[-1].events == quiet.events
    for point in quiet.curve:
        assert point.promised == pytest.approx(1 - math.exp(-point.events / 2000))
    assert sum(quiet.arms.values()) >= quiet.alarms


def test_the_order_of_sessions_is_what_keeps_the_promise() -> None:
    """Halves of an ordered reference, calibrated in stretches and as if independent."""
    rows = sessions(4000, 1)
    kept = selftest(rows, WINDOWS, ordered=True, run_length_events=5000, runs=12)
    assert kept.held
    assert kept.block_length > 10
    assert kept.arms["e_detector"] == 0
    random, broken = np.random.default_rng(2), 0
    for _ in range(12):
        order = module._order(len(rows), True, random)
        broken += module._run(rows[order], WINDOWS, 5000 / 20, ordered=False).first_alarm is not None
    assert broken > kept.high


def test_a_run_tells_its_first_alarm_from_its_first_look_on() -> None:
    """The second half is the reference; a stream that is strange from the start alarms at the first look."""
    rows = np.vstack([independent(300, 3) + 3, independent(300, 4)])
    run = module._run(rows, WINDOWS, 1000.0, ordered=False)
    assert run.first_alarm == WINDOWS.block
    assert {"e_detector", "short"} <= run.arms
    late = np.vstack([independent(200, 5), independent(400, 6) + 3, independent(600, 4)])
    found = module._run(late, WINDOWS, 1000.0, ordered=False).first_alarm
    assert found is not None
    assert 100 < found <= 200


def test_splits_use_every_row_once_and_keep_their_order() -> None:
    random = np.random.default_rng(7)
    for ordered in (True, False):
        order = module._order(50, ordered, random)
        assert sorted(order) == list(range(50))
        assert set(np.diff(order)) == {1, -49} if ordered else len(set(np.diff(order))) > 2


def test_progress_is_told_and_the_seed_decides() -> None:
    told: list[tuple[int, int]] = []
    rows = independent(260, 8)
    first = selftest(
        rows, WINDOWS, ordered=False, runs=3, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert selftest(rows, WINDOWS, ordered=False, runs=3) == first


def test_a_reference_that_cannot_fill_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 200 reference rows, there are 199"):
        selftest(independent(199, 9), WINDOWS, ordered=False, runs=1)
    assert selftest(independent(200, 9), WINDOWS, ordered=False, runs=1).events == WINDOWS.block


def test_nothing_but_alarms_is_a_finite_rate() -> None:
    run = module._Run(20, frozenset({"short"}), 1)
    found = module._summary([run] * 4, 100, 1000.0)
    assert not found.held
    assert math.isfinite(found.realised_per_budget)
    assert found.realised_per_budget > 10
