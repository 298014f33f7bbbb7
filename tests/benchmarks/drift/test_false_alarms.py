"""The promise 1 - exp(-T / ARL) with its band: kept by runs that keep it, broken by runs that do not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.drift.false_alarms import (
    CONDITIONS,
    Condition,
    known_rows,
    one_run,
    realised_run_length,
    shares,
    traffic,
)
from benchmarks.drift.rules import RULES

SMALL = Condition(
    name="small", traffic="gaussian", runs=1, judged_by_peers=1, n_reference=1000, n_stream=2500, rho=0.9
)


def exponential(mean: float, n: int) -> list[int | None]:
    times = np.random.default_rng(61).exponential(mean, size=n)
    return [int(t) + 1 if t < 6000 else None for t in times]


def test_the_promise_and_its_band() -> None:
    (share,) = shares([None] * 1000, [5000], run_length=10_000)
    assert share.promised == pytest.approx(1 - math.exp(-0.5))
    assert share.low == binom.ppf(0.005, 1000, share.promised) / 1000
    assert share.high == binom.ppf(0.995, 1000, share.promised) / 1000
    assert share.share == 0
    assert share.kept


def test_runs_at_the_promised_rate_are_inside_the_band() -> None:
    for share in shares(exponential(10_000, 1000), [1000, 3000, 6000]):
        assert share.low <= share.share <= share.high


def test_always_firing_breaks_the_promise_and_never_firing_keeps_it() -> None:
    assert not any(share.kept for share in shares([500] * 200, [1000, 6000]))
    assert all(share.kept for share in shares([None] * 200, [1000, 6000]))


def test_twice_the_promised_rate_is_seen_in_a_thousand_runs() -> None:
    assert not all(share.kept for share in shares(exponential(5000, 1000), [1000, 3000, 6000]))


def test_alarms_behind_the_horizon_do_not_count() -> None:
    early, late = shares([100, 2000, None], [1000, 3000])
    assert (early.alarmed, late.alarmed) == (1, 2)


def test_the_realised_run_length_is_that_of_the_rate() -> None:
    found = realised_run_length(exponential(10_000, 2000), 6000)
    n_alarms = 2000 * (1 - math.exp(-0.6))
    assert abs(found / 10_000 - 1) < 4 / math.sqrt(n_alarms)
    assert realised_run_length([None, None], 6000) == math.inf


def test_a_run_tells_of_every_arm_and_every_rule(cached: Path) -> None:
    record = one_run(SMALL, cached, 0)
    assert set(record["first"]) == {"e_detector", "short", "long", "union"}
    assert set(record["rules"]) == set(record["in_alarm"]) == set(RULES)
    assert record["block_length"] == 1
    assert record["in_alarm"]["p < 0.05, any feature"] > 0  # 43 features, 41 looks
    assert one_run(SMALL, cached, 0)["first"] == record["first"]


def test_sessions_are_noticed_by_the_calibration(cached: Path) -> None:
    condition = replace(SMALL, traffic="sessions", mean_session=20.0, judged_by_peers=0)
    record = one_run(condition, cached, 1)
    assert record["block_length"] > 20
    assert "rules" not in record


@pytest.mark.parametrize("condition", CONDITIONS[:2], ids=lambda each: each.name)
def test_a_run_of_real_rows_has_reference_and_stream_of_the_pool(cached: Path, condition: Condition) -> None:
    reference, stream = traffic(condition, cached, np.random.default_rng(1))
    assert (len(reference), len(stream)) == (2000, 6000)
    _, rows, clusters = known_rows(cached)
    assert len(rows) == len(clusters)
    pool = {row.tobytes() for row in rows}
    assert all(row.tobytes() in pool for row in (*reference[:100], *stream[:100]))


def test_the_conditions_fit_the_pool() -> None:
    real = [each for each in CONDITIONS if each.traffic != "gaussian"]
    assert all(each.n_reference + each.n_stream <= 8570 for each in real)
    assert sum(each.runs >= 1000 for each in CONDITIONS) >= 3
