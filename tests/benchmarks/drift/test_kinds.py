"""The way from traffic to a named kind, with the monitor's own functions."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drift.changes import World, change_named
from benchmarks.drift.corpus import SOURCE
from benchmarks.drift.kinds import (
    CASES,
    Case,
    Traffic,
    baseline_of,
    follow_up,
    joined,
    traffic_of,
    window_of,
)
from monitoring.check import Baseline
from trimtab.drift import DriftKind

RANDOM = np.random.default_rng(81)


@pytest.fixture(scope="module")
def baseline(world: World) -> Baseline:
    return baseline_of(world, world.corpus.fresh(SOURCE)[:2000], seed=0)


@pytest.fixture(scope="module")
def quiet(world: World) -> Traffic:
    index = world.corpus.fresh(SOURCE)[2000:7000]
    return traffic_of(
        world, index, world.rows["last"][index], world.corpus.states["last"][index], np.random.default_rng(82)
    )


def part(traffic: Traffic, start: int, stop: int) -> Traffic:
    return Traffic(*(each[start:stop] for each in vars(traffic).values()))


def case_named(start: str) -> Case:
    (found,) = [case for case in CASES if case.name.startswith(start)]
    return found


def test_traffic_without_drift_opens_no_job(baseline: Baseline, quiet: Traffic) -> None:
    assert follow_up(baseline, quiet, 2000).at is None


def test_a_turned_concept_is_seen_by_labels_only(world: World, quiet: Traffic) -> None:
    pool = world.corpus.fresh(SOURCE)[4000:8000]
    turned = case_named("concept").make(world, pool, np.random.default_rng(83))
    assert 0.15 < turned.labelled.mean() < 0.25
    assert turned.right.mean() == pytest.approx(0.977 * 0.75 + 0.023 * 0.25, abs=0.03)
    assert not quiet.labelled.any()


def test_an_unlabelled_gross_change_is_found_and_named(
    world: World, baseline: Baseline, quiet: Traffic
) -> None:
    after = case_named("tweets 100").make(world, world.corpus.fresh(SOURCE)[7000:], np.random.default_rng(84))
    said = follow_up(baseline, joined(part(quiet, 0, 2000), part(after, 0, 700)), 2000)
    assert said.at is not None
    assert said.at <= 500
    assert said.settled in {DriftKind.COVARIATE_BENIGN, DriftKind.COVARIATE_HARMFUL}


def test_the_loud_client_alone_sends_the_other_domain(world: World) -> None:
    traffic = case_named("one of five").make(
        world, world.corpus.fresh(SOURCE)[4000:8500], np.random.default_rng(85)
    )
    loud = traffic.clients == "client-0"
    assert abs(loud.mean() - 0.3) < 4 * np.sqrt(0.21 / len(loud))
    assert len(set(traffic.clients)) == 5


def test_the_expected_kind_of_a_covariate_drift_follows_its_true_drop(world: World) -> None:
    for case in CASES[:4]:
        harmful = case.drop(world) >= 3
        assert case.expected(world) == (
            DriftKind.COVARIATE_HARMFUL if harmful else DriftKind.COVARIATE_BENIGN
        )
    assert case_named("rotation").expected(world) is DriftKind.COVARIATE_HARMFUL


def test_every_case_can_be_made_and_its_drop_told(world: World) -> None:
    assert len(CASES) == 8
    for case in CASES:
        traffic = case.make(world, world.corpus.fresh(SOURCE)[4000:8570], RANDOM)
        assert len({len(each) for each in vars(traffic).values()}) == 1
        assert len(traffic.rows) >= 1500
        assert np.isfinite(case.drop(world))


def test_a_window_is_what_the_ledger_would_give(baseline: Baseline, quiet: Traffic) -> None:
    window = window_of(baseline, quiet, 100, 600)
    assert len(window) == 500
    assert set(window.labels) <= set(baseline.references.feature_map.labels)
    np.testing.assert_array_equal(window.features, quiet.rows[100:600])
    assert window.clients == tuple(quiet.clients[100:600])


def test_a_moved_state_moves_the_answers(world: World) -> None:
    change = change_named("rotation 45°")
    index = world.corpus.fresh(SOURCE)[:1000]
    drawn = change.draw(world, index, 1000, np.random.default_rng(86))
    traffic = traffic_of(world, drawn.index, change.rows(world, drawn, "last"), drawn.last(world), RANDOM)
    recorded = world.corpus.predicted(world.corpus.states["last"][drawn.index])
    assert (traffic.predicted != recorded).mean() > 0.01
