"""The monitor on a real ledger and a real Valkey: what it notices, what it opens, and what it survives."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import redis

from monitoring.intake import CONSUMER
from monitoring.monitor import run_monitor, tick
from monitoring.station import LEASE, Station, open_station
from service.valkey import start_valkey
from tests.fixtures.references import traffic
from tests.monitoring.conftest import MODEL, WINDOW, Place, calibrated, open_place, settings_in
from trimtab.drift import DriftState
from trimtab.errors import LedgerUnavailable, QueueUnavailable, SettingsError
from trimtab.jobs import JobStatus
from trimtab.ledger import Ledger, examples, jobs, locks, samples, versions
from trimtab.ledger.examples import Example
from trimtab.samples import STREAM
from trimtab.settings import DriftSettings, MonitorSettings, PolicySettings, SamplesSettings

DRIFT = 1.5


def feed(place: Place, station: Station, n: int, shift: float, *, version: int = 1, step: int = 20) -> None:
    """Send n samples of a domain in blocks, with a tick after each."""
    for i in range(0, n, step):
        place.send(traffic(min(step, n - i), shift, seed=1000 + place.n_sent), version)
        assert tick(station)


def test_in_domain_traffic_is_ok_and_every_check_is_reported(place: Place, station: Station) -> None:
    feed(place, station, 300, 0.0)
    state = place.state()
    assert state.state is DriftState.OK
    assert (state.events_seen, state.alarms_total, state.reference_domains) == (300, 0, ("movie",))
    found = place.reports()
    assert len(found) == (300 - WINDOW) // 20 + 1
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
    assert opening.severity == 3
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


def test_a_waiting_job_goes_on_when_its_labels_arrive(place: Place, station: Station) -> None:
    feed(place, station, 200, 0.0)
    feed(place, station, 200, DRIFT)
    place.label(220, 235)
    tick(station)
    (job,) = place.jobs()
    assert job.status is JobStatus.WAITING_FOR_LABELS
    assert job.missing is not None
    assert 0 < job.missing["gate"] < 10
    place.label(236, 400)
    tick(station)
    assert place.jobs()[0].status is JobStatus.QUEUED
    assert place.nudged == [job.id]


def test_after_its_deadline_a_waiting_job_is_left_to_the_worker(
    tmp_path: Path, redis_client: redis.Redis, valkey: Any
) -> None:
    settings = settings_in(tmp_path, valkey.url, policy=PolicySettings(cooldown_s=0.0, label_deadline_s=1e-6))
    place = open_place(settings)
    place.add_version(1, {"movie": traffic(300, 0.0, seed=1)})
    with open_station(settings, place.nudged.append) as station:
        calibrated(station, place)
        feed(place, station, 120, 0.0)
        feed(place, station, 120, DRIFT)
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
    lease = jobs.claim(tx, job_id, "worker", 60.0)
    assert lease is not None
    jobs.finish(tx, lease, JobStatus.REJECTED)


def test_a_crash_between_keeping_and_acknowledging_counts_nothing_twice(
    place: Place, station: Station
) -> None:
    place.send(traffic(20, 0.0, seed=5))
    ((stream_id, block),) = place.stream.read(CONSUMER, block_ms=1)
    with place.ledger.begin() as tx:
        samples.ingest(tx, [(stream_id, block)])
    # Here the monitor died; its successor finds the block still pending.
    tick(station)
    assert place.n_samples() == 20
    assert place.stream.read(CONSUMER, block_ms=1) == []


def test_a_block_that_was_published_twice_counts_once(place: Place, station: Station) -> None:
    block = place.block(traffic(20, 0.0, seed=5))
    place.stream.publish(block)
    place.stream.publish(block)
    tick(station)
    assert place.n_samples() == 20


def test_rubbish_in_the_stream_is_skipped(place: Place, station: Station, redis_client: redis.Redis) -> None:
    redis_client.xadd(STREAM, {"block": "{"})
    place.send(traffic(5, 0.0, seed=5))
    tick(station)
    assert place.n_samples() == 5


def test_a_job_whose_message_was_lost_is_nudged_again(place: Place, station: Station) -> None:
    with place.ledger.begin() as tx:
        job = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
    tick(station)
    assert place.nudged == []  # whoever opened it nudged; its time has not come
    impatient = replace(station, nudger=replace(station.nudger, again_after_s=0.0))
    tick(impatient)
    tick(impatient)
    assert place.nudged == [job.id, job.id]
    with place.ledger.begin() as tx:
        jobs.claim(tx, job.id, "worker", 60.0)
    tick(impatient)
    assert place.nudged == [job.id, job.id]


def test_a_job_whose_worker_died_is_nudged_at_once(place: Place, station: Station) -> None:
    with place.ledger.begin() as tx:
        job = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
        jobs.claim(tx, job.id, "worker", -1.0)
    tick(station)
    tick(station)
    assert place.nudged == [job.id]


def test_a_queue_that_is_away_costs_no_job(place: Place, station: Station) -> None:
    def unreachable(_: str) -> None:
        raise QueueUnavailable

    feed(place, station, 200, 0.0)
    place.label(201, 340)
    deaf = replace(station, nudger=replace(station.nudger, send=unreachable))
    feed(place, deaf, 140, DRIFT)
    (job,) = place.jobs()
    assert job.status is JobStatus.QUEUED
    tick(replace(deaf, nudger=replace(deaf.nudger, send=place.nudged.append, again_after_s=0.0)))
    assert place.nudged == [job.id]


def test_a_wrong_signature_turns_alarms_off_and_says_so(place: Place, station: Station) -> None:
    digest = place.add_version(2, {"movie": traffic(300, 0.0, seed=1)})
    manifest = place.settings.home / "store" / "adapters" / digest / "manifest.sig"
    manifest.write_bytes(b"x" * 88)
    feed(place, station, 2 * WINDOW, DRIFT, version=2)
    state = place.state()
    assert state.state is DriftState.COLLECTING
    assert "signature" in state.detail
    assert place.reports() == []


def test_only_one_monitor_works_at_a_time(place: Place, station: Station) -> None:
    assert tick(station)
    with open_station(place.settings, place.nudged.append) as second:
        assert not tick(second)
        with place.ledger.begin() as tx:
            locks.release(tx, LEASE, station.owner)
        assert tick(second)
        assert not tick(station)


def test_a_closed_monitor_gives_its_lease_up(place: Place, station: Station) -> None:
    with open_station(place.settings, place.nudged.append) as first:
        assert tick(first)
    assert tick(station)


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


def test_without_retention_no_text_is_kept_and_the_window_is_still_checked(
    tmp_path: Path, redis_client: redis.Redis, valkey: Any
) -> None:
    settings = settings_in(tmp_path, valkey.url, samples=SamplesSettings(retention="0"))
    place = open_place(settings)
    place.add_version(1, {"movie": traffic(300, 0.0, seed=1)})
    with open_station(settings, place.nudged.append) as station:
        feed(place, station, 120, 0.0)
    assert place.reports()
    with place.ledger.read() as tx:
        assert {row.text for row in samples.window_rows(tx, MODEL, 0, 1000)} == {None}


def test_runs_until_it_is_stopped_and_says_when_it_is_ready(place: Place) -> None:
    stop, ready, seen = threading.Event(), threading.Event(), threading.Event()

    def nudge(_: str) -> None:
        seen.set()

    settings = place.settings.model_copy(update={"monitor": MonitorSettings(tick_s=0.01, renudge_s=0.01)})
    monitor = threading.Thread(target=run_monitor, args=(settings, nudge, stop, ready.set))
    monitor.start()
    assert ready.wait(30)
    with place.ledger.begin() as tx:
        jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
    assert seen.wait(30)
    stop.set()
    monitor.join(30)
    assert not monitor.is_alive()
    with place.ledger.begin() as tx:
        assert locks.hold(tx, LEASE, "next", 1.0)


def test_goes_on_without_redis_and_after_it_is_back(tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="tt-") as short:
        start = partial(start_valkey, Path(short) / "v.sock", data=tmp_path / "data", log=tmp_path / "log")
        server = start()
        place = open_place(settings_in(tmp_path, server.url))
        place.add_version(1, {"movie": traffic(300, 0.0, seed=1)})
        with open_station(place.settings, place.nudged.append) as station:
            feed(place, station, 100, 0.0)
            server.stop()
            with place.ledger.begin() as tx:
                job = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
                jobs.claim(tx, job.id, "worker", -1.0)
            assert tick(station)  # the ledger is looked after all the same
            assert place.nudged == [job.id]
            server = start()
            feed(place, station, 20, 0.0)
            assert place.n_samples() == 120
        server.stop()


def test_without_the_ledger_nothing_is_acknowledged(place: Place, station: Station) -> None:
    place.send(traffic(20, 0.0, seed=5))
    unreachable = Ledger("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(LedgerUnavailable):
        replace(station.intake, ledger=unreachable).take_in()
    assert tick(station)
    assert place.n_samples() == 20


def test_a_model_that_cannot_be_checked_does_not_stop_the_others(place: Place, station: Station) -> None:
    feed(place, station, 90, 0.0)
    place.send(traffic(20, 0.0, seed=5)[:, :3])
    assert tick(station)
    assert place.n_samples() == 110
    with place.ledger.begin() as tx:
        job = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
        jobs.claim(tx, job.id, "worker", -1.0)
    assert tick(station)
    assert place.nudged == [job.id]


def test_a_wrong_budget_stops_the_start(place: Place) -> None:
    settings = place.settings.model_copy(update={"drift": DriftSettings(false_alarm_budget="sometimes")})
    with pytest.raises(SettingsError, match="TRIMTAB_DRIFT__FALSE_ALARM_BUDGET"):
        run_monitor(settings, place.nudged.append, threading.Event(), lambda: None)


def test_loads_neither_the_web_nor_torch() -> None:
    code = "import sys, monitoring.monitor; print({'fastapi', 'torch', 'celery'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
