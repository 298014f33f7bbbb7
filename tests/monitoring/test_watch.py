"""One model on a real ledger and a real Valkey: what the monitor notices, what it opens, what it makes of the end."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import redis

from monitoring.look import look
from monitoring.monitor import tick
from monitoring.station import Station, open_station
from tests.fixtures.references import labelled, traffic
from tests.monitoring.conftest import (
    BLOCK,
    DRIFT,
    MODEL,
    WINDOW,
    Place,
    calibrated,
    feed,
    open_place,
    settings_in,
)
from trimtab.drift import DriftKind, DriftState
from trimtab.jobs import JobStatus
from trimtab.ledger import examples, jobs, parked, reports, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.windows import rows_after
from trimtab.settings import DriftSettings


def test_in_domain_traffic_is_ok_and_every_check_is_reported(place: Place, station: Station) -> None:
    feed(place, station, 300, 0.0)
    state = place.state()
    assert state.state is DriftState.OK
    assert (state.events_seen, state.alarms_total, state.reference_domains) == (300, 0, ("movie",))
    found = place.reports()
    assert len(found) == (300 - WINDOW) // BLOCK + 1
    assert {report.nearest for report in found} == {"movie"}
    assert all(report.calibrated and report.n_window == WINDOW and not report.alarm for report in found)
    assert found[0].last_seq == 300
    assert place.jobs() == []


def test_nothing_is_said_before_the_window_is_full(place: Place, station: Station) -> None:
    feed(place, station, WINDOW - 1, DRIFT, step=33)
    assert place.state().state is DriftState.COLLECTING
    assert place.reports() == []


def test_a_drift_is_noticed_and_opens_one_job_from_its_start(place: Place, station: Station) -> None:
    feed(place, station, 200, 0.0)
    feed(place, station, 100, DRIFT)
    (job,) = place.jobs()
    assert job.status is JobStatus.WAITING_FOR_LABELS
    assert 190 <= job.window_from_seq <= 215
    assert job.missing is not None
    assert {"train", "gate"} <= job.missing.keys()
    state = place.state()
    assert (state.state, state.alarms_total) == (DriftState.ADAPTING, 1)
    opening = next(report for report in place.reports() if report.job_id)
    assert opening.job_id == job.id
    assert job.cause["report"] == opening.id
    assert opening.actionable
    assert opening.severity == 2  # a large effect, but harm cannot be told without labelled references
    assert opening.features[0].ks == opening.max_ks
    assert place.nudged == []


def test_labels_from_before_the_change_do_not_count(place: Place, station: Station) -> None:
    feed(place, station, 200, 0.0)
    place.label(1, 190)
    feed(place, station, 100, DRIFT)
    (job,) = place.jobs()
    assert job.status is JobStatus.WAITING_FOR_LABELS


def test_a_job_whose_labels_are_there_is_queued_and_nudged(place: Place, station: Station) -> None:
    feed(place, station, 200, 0.0)
    place.label(201, 300)
    feed(place, station, 140, DRIFT)
    (job,) = place.jobs()
    assert job.status is JobStatus.QUEUED
    assert place.nudged == [job.id]


def test_traffic_that_returns_to_a_mixture_of_known_domains_opens_no_job(
    place: Place, station: Station
) -> None:
    place.add_version(2, {"movie": traffic(300, 0.0, seed=1), "tweets": traffic(200, DRIFT, seed=2)})
    tick(station)
    calibrated(station, place)
    feed(place, station, 2 * WINDOW, DRIFT, version=2)
    feed(place, station, 3 * WINDOW, 0.0, version=2, step=10)
    states = {report.state for report in place.reports()}
    assert states == {DriftState.OK, DriftState.KNOWN}
    mixed = [report for report in place.reports() if report.state is DriftState.KNOWN]
    assert all(min(report.mixture.values()) > 0 for report in mixed)
    assert place.jobs() == []
    assert place.state().alarms_total == 0


def test_a_third_domain_is_drift_although_two_are_known(place: Place, station: Station) -> None:
    place.add_version(2, {"movie": traffic(300, 0.0, seed=1), "tweets": traffic(200, DRIFT, seed=2)})
    tick(station)
    calibrated(station, place)
    feed(place, station, WINDOW, DRIFT, version=2)
    feed(place, station, WINDOW, -DRIFT, version=2)
    assert len(place.jobs()) == 1


def test_another_champion_gets_a_window_of_its_own(place: Place, station: Station) -> None:
    feed(place, station, 150, 0.0)
    place.add_version(2, {"movie": traffic(300, 0.0, seed=1)})
    feed(place, station, 60, DRIFT, version=1)  # late answers of the old version
    state = place.state()
    assert (state.state, state.version) == (DriftState.COLLECTING, 2)
    feed(place, station, WINDOW, 0.0, version=2)
    assert place.reports()[0].version == 2
    assert place.jobs() == []


def test_the_watch_of_an_adapted_version_ends_by_events_and_confirms_its_examples(
    place: Place, station: Station
) -> None:
    tick(station)
    with place.ledger.begin() as tx:
        job = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
        lease = jobs.claim(tx, job.id, "worker", 60.0)
        assert lease is not None
    place.add_version(2, {"movie": traffic(300, 0.0, seed=1)}, job_id=job.id)
    with place.ledger.begin() as tx:
        jobs.finish(tx, lease, JobStatus.PROMOTED, version=2)
        examples.add_examples(
            tx,
            [Example(model=MODEL, domain="d", role="memory", text="x", key="k", version=2, probation=True)],
        )
    feed(place, station, 140, 0.0, version=2)
    assert place.state().watching_version == 2
    feed(place, station, 20, 0.0, version=2)
    assert place.state().watching_version == 0
    with place.ledger.read() as tx:
        assert [example.probation for example in examples.list_examples(tx, MODEL, "memory")] == [False]


def test_a_version_that_was_held_is_watched_when_a_person_promotes_it(place: Place, station: Station) -> None:
    """Whatever jobs have ended since."""
    tick(station)
    brought = Example(model=MODEL, domain="d", role="gate", text="x", key="k", version=2, probation=True)
    with place.ledger.begin() as tx:
        held = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1).id
        _end(tx, held, JobStatus.HELD)
        examples.add_examples(tx, [brought])
        parked.park(tx, MODEL, 2)
        _end(tx, jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1).id, JobStatus.FAILED)
    tick(station)
    place.add_version(2, {"movie": traffic(300, 0.0, seed=1)}, job_id=held)
    tick(station)
    assert place.state().watching_version == 2


def test_a_rollback_counts_as_an_adaptation_that_did_not_help(place: Place, station: Station) -> None:
    place.add_version(2, {"movie": traffic(300, 0.0, seed=1)})
    tick(station)
    with place.ledger.begin() as tx:
        versions.rollback(tx, MODEL, actor="operator", reason="worse")
    tick(station)
    state = place.state()
    assert (state.version, state.unhelpful, state.watching_version) == (1, 1, 0)


def test_failed_adaptations_stop_until_a_human_looks(place: Place, station: Station) -> None:
    feed(place, station, 120, 0.0)
    for _ in range(4):
        feed(place, station, WINDOW, DRIFT)
        with place.ledger.begin() as tx:
            open_job = jobs.in_flight(tx, MODEL)
            if open_job is not None:
                _reject(tx, open_job.id)
    assert [job.status for job in place.jobs()] == [JobStatus.REJECTED, JobStatus.REJECTED]
    assert place.state().state is DriftState.NEEDS_HUMAN


def _reject(tx: Any, job_id: str) -> None:
    if jobs.get_job(tx, job_id).status is JobStatus.WAITING_FOR_LABELS:
        jobs.requeue_waiting(tx, job_id)
    _end(tx, job_id, JobStatus.REJECTED)


def _end(tx: Any, job_id: str, status: JobStatus) -> None:
    lease = jobs.claim(tx, job_id, "worker", 60.0)
    assert lease is not None
    jobs.finish(tx, lease, status)


def test_a_wrong_signature_turns_alarms_off_and_says_so(place: Place, station: Station) -> None:
    digest = place.add_version(2, {"movie": traffic(300, 0.0, seed=1)})
    manifest = place.settings.home / "store" / "adapters" / digest / "manifest.sig"
    manifest.write_bytes(b"x" * 88)
    feed(place, station, 2 * WINDOW, DRIFT, version=2)
    state = place.state()
    assert state.state is DriftState.COLLECTING
    assert "signature" in state.detail
    assert place.reports() == []


def test_thresholds_are_safe_until_they_are_calibrated(place: Place) -> None:
    busy = threading.Event()
    with open_station(place.settings, place.nudged.append) as station:
        station.baselines._thread.submit(busy.wait, 60.0)  # the calibration queues up behind this
        feed(place, station, 120, 0.0)
        assert place.state().state is DriftState.CALIBRATING
        assert not place.reports()[0].calibrated
        feed(place, station, 100, DRIFT)
        assert len(place.jobs()) == 1
        busy.set()
        station.baselines.wait_until_calibrated(60.0)
        feed(place, station, 20, DRIFT)
        assert place.reports()[0].calibrated


def test_one_clients_flood_pages_and_trains_nothing(
    tmp_path: Path, redis_client: redis.Redis, valkey: Any
) -> None:
    drift = DriftSettings(window=200, long_window=200, check_every=20, check_every_s=1e-6)
    place = open_place(settings_in(tmp_path, valkey.url, drift=drift))
    place.add_version(1, {"movie": traffic(600, 0.0, seed=1)})
    with open_station(place.settings, place.nudged.append) as station:
        calibrated(station, place)
        feed(place, station, 200, 0.0)
        while not place.state().in_alarm:
            place.send(traffic(14, 0.0, seed=place.n_sent), client=f"user {place.n_sent % 3}")
            place.send(traffic(6, 3.0, seed=place.n_sent), client="bot")
            assert tick(station)
            assert place.n_sent < 1000
    state = place.state()
    assert (state.kind, state.severity, state.state) == (DriftKind.SOURCE, 3, DriftState.DRIFTING)
    assert place.jobs() == []
    assert "'bot'" in place.reports()[0].explanation
    place.ledger.close()


def test_labels_alone_find_a_change_of_the_concept(place: Place, station: Station) -> None:
    place.add_version(2, labelled({"movie": traffic(600, 0.0, seed=1)}))
    tick(station)
    calibrated(station, place)
    feed(place, station, 300, 0.0, version=2)
    place.label(1, 300, right=True)
    feed(place, station, 300, 0.0, version=2)
    assert place.state().state is DriftState.OK
    place.label(301, 600, right=False)
    feed(place, station, 20, 0.0, version=2)
    state = place.state()
    assert (state.kind, state.harmful, state.state) == (DriftKind.CONCEPT, True, DriftState.ADAPTING)
    (job,) = place.jobs()
    assert job.cause["drift"] == "concept"
    assert 295 <= job.window_from_seq <= 305
    labelled_now = place.reports()[0].labelled
    assert labelled_now is not None
    assert labelled_now.alarm


def test_an_operator_acknowledges_and_the_drift_is_quiet_until_it_grows(
    place: Place, station: Station
) -> None:
    observing = replace(station, rules=replace(station.rules, act_on="none"))
    feed(place, observing, WINDOW, 0.0)
    feed(place, observing, WINDOW, 0.8)
    assert place.state().state is DriftState.DRIFTING
    with place.ledger.begin() as tx:
        reports.acknowledge(tx, MODEL, "ada")
    feed(place, station, WINDOW, 0.8)
    assert (place.state().state, place.jobs()) == (DriftState.ACKNOWLEDGED, [])
    feed(place, station, WINDOW, 3.0)
    assert len(place.jobs()) == 1


def test_what_an_operator_did_during_a_look_is_not_undone(place: Place, station: Station) -> None:
    """The look is dropped, the samples are taken again, and the same reports come out."""
    feed(place, station, WINDOW, 0.0)
    place.send(traffic(10, 0.0, seed=7))
    station.intake.take_in()
    baseline = station.baselines.of(1, _digest(place))
    before = place.state()
    with place.ledger.begin() as tx:
        following = station.detectors.of(tx, before, baseline)
        rows = rows_after(tx, MODEL, 1, following.at_seq, 10, baseline.known.n_features)
        following.take(rows)
        reports.save_state(tx, replace(before, detail="an operator was here"))
    look(station, before, replace(before, consumed_seq=following.at_seq), following, baseline)
    assert place.state().detail == "an operator was here"
    assert len(place.reports()) == 1
    tick(station)
    assert [report.last_seq for report in place.reports()] == [110, 100]


def test_a_job_that_ended_during_a_look_is_taken_in_before_another_is_opened(
    place: Place, station: Station
) -> None:
    feed(place, station, 200, 0.0)
    feed(place, station, 100, DRIFT)
    (job,) = place.jobs()
    n_reports, before, baseline = len(place.reports()), place.state(), station.baselines.of(1, _digest(place))
    place.send(traffic(10, DRIFT, seed=7))
    station.intake.take_in()
    with place.ledger.begin() as tx:
        following = station.detectors.of(tx, before, baseline)
        following.take(rows_after(tx, MODEL, 1, following.at_seq, 10, baseline.known.n_features))
        _reject(tx, job.id)
    assert not look(station, before, replace(before, consumed_seq=following.at_seq), following, baseline)
    assert (len(place.reports()), len(place.jobs())) == (n_reports, 1)
    tick(station)
    assert place.state().last_job_id == job.id


def test_a_step_back_withdraws_the_job_that_its_window_opened(place: Place, station: Station) -> None:
    feed(place, station, 200, 0.0)
    feed(place, station, 100, DRIFT)
    place.add_version(2, {"movie": traffic(300, 0.0, seed=1)})
    tick(station)
    assert [job.status for job in place.jobs()] == [JobStatus.WAITING_FOR_LABELS]
    with place.ledger.begin() as tx:
        versions.rollback(tx, MODEL, actor="operator", reason="worse")
    tick(station)
    (job,) = place.jobs()
    assert job.status is JobStatus.CANCELLED
    assert "stepped back" in job.reason


def test_the_last_events_before_a_silence_are_looked_at_when_their_time_has_come(
    tmp_path: Path, redis_client: redis.Redis, valkey: Any
) -> None:
    drift = DriftSettings(window=WINDOW, long_window=2 * WINDOW, check_every=BLOCK, check_every_s=3600.0)
    place = open_place(settings_in(tmp_path, valkey.url, drift=drift))
    place.add_version(1, {"movie": traffic(300, 0.0, seed=1)})
    with open_station(place.settings, place.nudged.append) as station:
        calibrated(station, place)
        feed(place, station, 2 * WINDOW, 0.0)
        assert [report.last_seq for report in place.reports()] == [WINDOW]
        with place.ledger.begin() as tx:  # an hour later
            reports.save_state(tx, replace(place.state(), checked_at=0.0))
        for _ in range(2):
            tick(station)
        assert [report.last_seq for report in place.reports()] == [2 * WINDOW, WINDOW]
    place.ledger.close()


def test_dependent_traffic_against_a_reference_without_order_is_warned_of(
    place: Place, station: Station
) -> None:
    for n in range(2 * WINDOW // BLOCK):
        sessions = np.repeat(traffic(BLOCK // 2, 0.0, seed=900 + n), 2, axis=0)
        place.send(sessions + 0.05 * traffic(BLOCK, 0.0, seed=n))
        tick(station)
    quiet = [report for report in place.reports() if not report.alarm]
    assert min(report.dependence for report in quiet) > 0.2
    warned = [quiet[0].id == place.reports()[0].id and "timestamps" in place.state().detail]
    assert warned == [True]


def _digest(place: Place) -> str:
    with place.ledger.read() as tx:
        digest = versions.get_version(tx, MODEL, 1).digest
    assert digest is not None
    return digest
