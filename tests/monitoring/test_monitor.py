"""The loop: jobs that wait or were lost, one monitor at a time, and what it survives."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import update

from monitoring.monitor import run_monitor, tick
from monitoring.station import LEASE, Station, open_station
from tests.fixtures.references import traffic
from tests.monitoring.conftest import DRIFT, MODEL, Place, calibrated, feed, open_place, settings_in
from trimtab.errors import QueueUnavailable
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, label_requests, locks, reports
from trimtab.ledger.schema import monitor_state
from trimtab.metrics import MONITOR_ERRORS
from trimtab.settings import MonitorSettings, PolicySettings


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


def test_a_model_that_cannot_be_checked_does_not_stop_the_others(place: Place, station: Station) -> None:
    feed(place, station, 90, 0.0)
    state = place.state()
    with place.ledger.begin() as tx:
        tx.execute(update(monitor_state).values(body="no state at all"))
    errors = MONITOR_ERRORS.labels("model")._value.get()
    assert tick(station)
    assert MONITOR_ERRORS.labels("model")._value.get() == errors + 1
    with place.ledger.begin() as tx:
        job = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
        jobs.claim(tx, job.id, "worker", -1.0)
    assert tick(station)
    assert place.nudged == [job.id]
    with place.ledger.begin() as tx:
        reports.save_state(tx, state)
    feed(place, station, 10, 0.0)
    assert place.reports()[0].last_seq == 100


def test_labels_are_asked_for_where_gate_sets_cannot_be_renewed(place: Place, station: Station) -> None:
    feed(place, station, 90, 0.0)
    with place.ledger.begin() as tx:
        tx.execute(update(monitor_state).values(body="no state at all"))
        job = jobs.open_job(
            tx, MODEL, cause={}, domain="", window_from_seq=1, status=JobStatus.WAITING_FOR_LABELS,
            missing={"gate": 3}, deadline_at=4e9,
        )  # fmt: skip
    station.renewing._looked_at.clear()
    errors = MONITOR_ERRORS.labels("renewing")._value.get()
    assert tick(station)
    assert MONITOR_ERRORS.labels("renewing")._value.get() == errors + 1
    with place.ledger.read() as tx:
        assert label_requests.asked(tx, job.id)


def test_rows_of_another_width_are_left_out(place: Place, station: Station) -> None:
    feed(place, station, 90, 0.0)
    place.send(traffic(20, 0.0, seed=5)[:, :3])
    assert tick(station)
    assert (place.n_samples(), place.reports()) == (110, [])
    feed(place, station, 10, 0.0)
    (report,) = place.reports()
    assert (report.n_window, report.first_seq, report.last_seq) == (100, 1, 120)


def test_loads_neither_the_web_nor_torch() -> None:
    code = "import sys, monitoring.monitor; print({'fastapi', 'torch', 'celery'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
