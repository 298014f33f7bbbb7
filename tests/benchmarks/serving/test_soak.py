"""The purity soak, short, on a tiny model: real server and client processes, real swaps; and how it counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.serving.costs import SwapCosts, measure_costs
from benchmarks.serving.golden import PURE, Golden
from benchmarks.serving.probes import golden_of_home
from benchmarks.serving.purity_client import Seen
from benchmarks.serving.purity_report import figures, goals_of, phases_of, report
from benchmarks.serving.soak import Plan, Soak, Window, judge, soak, tail_ms
from benchmarks.serving.swapping import Swap, read_metrics
from benchmarks.serving.versions import Home, open_home
from service.valkey import ValkeyServer
from tests.fixtures.deployment import deployment, flushed
from tests.fixtures.toy_texts import toy_rows

PLAN = Plan(pairs=3, window_s=1.5, swaps=6, processes=2, tasks=3, pause_s=0.01, rollbacks=3)


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path, valkey: ValkeyServer
) -> Iterator[Home]:
    """Three signed versions of a tiny model."""
    with deployment(tmp_path_factory.mktemp("soak"), tiny_base_dir, flushed(valkey.url)) as made:
        made.create_model()
        for n in (1, 2, 3):
            made.add_version(n, promote=n == 1)
        yield open_home(made.settings, "toy")


@pytest.fixture(scope="module")
def golden(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    texts = [row.text for row in toy_rows("film", 60)]
    return golden_of_home(home, texts, 24, tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def found(home: Home, golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Soak:
    return soak(home, golden, PLAN, tmp_path_factory.mktemp("seen"))


def test_probes_tell_the_versions_apart_and_are_what_the_engine_answers(home: Home, golden: Golden) -> None:
    assert len(golden.texts) == 24
    for n, bundle in home.bundles.items():
        scores = bundle.probabilities(bundle.predict(golden.texts).logits)
        assert golden.difference(n, range(24), scores) <= PURE
        others = [golden.difference(m, range(24), scores) for m in home.bundles if m != n]
        assert min(others) > 1000 * PURE


@pytest.mark.slow
def test_every_answer_is_of_the_version_it_names(found: Soak) -> None:
    verdict = judge(found)
    assert (verdict.n_failed, verdict.n_contradicting, verdict.n_wrong) == (0, 0, 0)
    assert verdict.pure
    assert verdict.largest_difference <= PURE
    assert verdict.n > 100
    assert verdict.n_items > verdict.n
    assert sum(verdict.by_version.values()) == verdict.n
    assert len(verdict.by_version) >= 2


@pytest.mark.slow
def test_every_swap_was_ordered_and_observed(found: Soak) -> None:
    assert len(found.swaps) == PLAN.pairs * PLAN.swaps
    assert {swap.kind for swap in found.swaps} == {"promote", "rollback"}
    activated = sum(value for name, value in found.metrics.items() if 'outcome="activated"' in name)
    # At the end come the timed rollbacks, each after a promotion.
    assert activated >= len(found.swaps) + 2 * PLAN.rollbacks
    assert found.exact
    assert len(found.rollback_ms) == len(found.follow_ms) == PLAN.rollbacks
    assert all(0 <= own < whole for own, whole in zip(found.follow_ms, found.rollback_ms, strict=True))
    assert all(0 < swap.answered_s <= swap.seconds for swap in found.swaps)


@pytest.mark.slow
def test_windows_alternate_and_all_have_traffic(found: Soak) -> None:
    assert [window.swapping for window in found.windows] == [False, True] * PLAN.pairs
    for window in found.windows:
        assert sum(window.start_s <= each.sent_s < window.end_s for each in found.seen) > 5
        inside = [swap for swap in found.swaps if window.start_s <= swap.at_s < window.end_s]
        assert len(inside) == (PLAN.swaps if window.swapping else 0)


@pytest.mark.slow
def test_the_report_says_what_was_found(found: Soak, home: Home) -> None:
    verdict, costs = judge(found), measure_costs(home, repetitions=3)
    text = report({"machine": "this one"}, PLAN, found, verdict, costs, list(figures(found)))
    assert f"0 of {verdict.n}" in text
    assert all(f"| {phase} |" in text for phase in ("build", "verify", "self_test", "activate"))
    assert {"read", "verify", "build", "self_test"} == costs.cpu_ms.keys()
    # A variant with query and value only is smaller, and neither copies the base.
    whole = sum(p.numel() * p.element_size() for p in home.base.encoder.parameters())
    assert 0 < costs.bytes_narrow < costs.bytes_all < whole + 10_000


def soak_of(seen: list[Seen], swaps: int = 4) -> Soak:
    """A soak of two windows, made up."""
    windows = [
        Window(swapping=False, start_s=0.0, end_s=10.0),
        Window(swapping=True, start_s=10.0, end_s=20.0),
    ]
    made = [Swap("promote", 2, 10.0 + i, 0.05, 0.1, 500.0 + i) for i in range(swaps)]
    return Soak(windows, made, seen, [9.0, 12.0, 13.0], [1.0, 2.0, 3.0], exact=True, metrics={})


GOOD = [Seen(float(i), 0.010 if i < 10 else 0.020, 200, 1 + i % 2, 1, 1e-7) for i in range(20)]


def test_a_clean_soak_is_pure_and_its_tails_are_compared() -> None:
    verdict = judge(soak_of(GOOD))
    assert verdict.pure
    assert verdict.by_version == {1: 10, 2: 10}
    assert verdict.p99_ms == pytest.approx((10.0, 20.0))
    assert verdict.p99_ratio.value == pytest.approx(2.0)
    assert verdict.rss_slope.value == pytest.approx(1.0)
    assert verdict.rss_mb == (501.0, 503.0)


@pytest.mark.parametrize(
    ("bad", "count"),
    [
        (Seen(1.0, 0.1, 0, -1, 1, float("inf")), "n_failed"),
        (Seen(1.0, 0.1, 503, -1, 1, float("inf")), "n_failed"),
        (Seen(1.0, 0.1, 200, -1, 1, float("inf")), "n_contradicting"),
        (Seen(1.0, 0.1, 200, 2, 1, 2e-5), "n_wrong"),
    ],
)
def test_one_bad_answer_is_counted_once_and_spoils_all(bad: Seen, count: str) -> None:
    verdict = judge(soak_of([*GOOD, bad]))
    counted = {name: getattr(verdict, name) for name in ("n_failed", "n_contradicting", "n_wrong")}
    assert counted == {name: int(name == count) for name in counted}
    assert not verdict.pure


def test_a_soak_without_answers_proves_nothing() -> None:
    assert not replace(judge(soak_of(GOOD)), n=0).pure


def test_tails_are_of_the_requests_sent_within_the_window() -> None:
    seen = [
        Seen(0.5, 0.001, 200, 1, 1, 0.0),
        Seen(1.5, 0.002, 200, 1, 1, 0.0),
        Seen(1.6, 9.0, 500, 1, 1, 0.0),
    ]
    assert tail_ms(seen, [Window(swapping=False, start_s=1.0, end_s=2.0)]) == pytest.approx(2.0)


def test_goals_are_held_or_not() -> None:
    costs = SwapCosts({"read": 1.0, "verify": 1.0, "build": 20.0, "self_test": 90.0}, 40_000_000, 7_000_000)
    found = soak_of(GOOD)
    goals = {goal.what: goal.held for goal in goals_of(found, judge(found), costs)}
    assert goals["requests that failed"]
    assert not goals["swaps under load, observed"]
    assert not goals["p99 with swaps over without"]
    assert goals["read, verify, build, CPU"]
    assert goals["memory of a variant with q and v adapted"]
    assert goals["local rollback, idle: from the order's answer until it serves"]
    assert not goals["the same with HTTP and the ledger's commit"]
    slow = SwapCosts({**costs.cpu_ms, "build": 60.0}, 40_000_000, 11_000_000)
    slower = {goal.what: goal.held for goal in goals_of(found, judge(found), slow)}
    assert not slower["read, verify, build, CPU"]
    assert not slower["memory of a variant with q and v adapted"]


def test_metrics_are_read() -> None:
    text = (
        "# HELP a b\n# TYPE a counter\n"
        'trimtab_swap_phase_duration_seconds_sum{phase="build"} 0.5\n'
        'trimtab_swap_phase_duration_seconds_count{phase="build"} 4.0\n'
        'trimtab_swap_phase_duration_seconds_count{phase="drain"} 0.0\n'
        "process_x 1e3\n"
    )
    metrics = read_metrics(text)
    assert metrics["process_x"] == 1000.0
    assert phases_of(metrics) == {"build": (4, 125.0)}


def test_what_a_client_wrote_is_what_is_read() -> None:
    again = [Seen(*row) for row in json.loads(json.dumps([list(vars(each).values()) for each in GOOD]))]
    assert again == GOOD
