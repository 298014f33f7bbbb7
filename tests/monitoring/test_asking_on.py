"""A job that was held for want of labels goes on asking for them, until they are there or its drift is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from monitoring.chores import MOST_ASKED, Wanted
from monitoring.monitor import tick
from monitoring.station import Station
from tests.fixtures.references import traffic
from tests.monitoring.conftest import DRIFT, MODEL, WINDOW, Place
from trimtab.drift import DriftState
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import jobs, label_requests, reports
from trimtab.ledger.label_requests import Labeller, LabelRequest, RequestState

ANN = Labeller("ann")
HELD_FOR_LABELS: Mapping[str, Any] = {"verdict": "hold", "checks": [], "missing": {"gate": 10}}


def undecided(n: int, more: int | None) -> dict[str, Any]:
    """The verdict of a candidate whose gain was not shown."""
    check = {"name": "gain:domain-2", "result": "insufficient_data", "n": n, "more_labels": more}
    others = {"name": "forgetting:movie", "result": "insufficient_data", "n": 90, "more_labels": 70}
    return {"verdict": "hold", "checks": [others, check]}


def held(place: Place, station: Station, verdict: Mapping[str, Any] = HELD_FOR_LABELS) -> AdaptationJob:
    """The traffic drifted, a job waited for labels until its deadline, and the worker held it; one round later."""
    for _ in range(30):
        place.send(traffic(WINDOW // 5, DRIFT, seed=5 + place.n_sent))
        tick(station)
        if place.jobs():
            break
    with place.ledger.begin() as tx:
        (job,) = jobs.list_jobs(tx, MODEL)
        assert job.status is JobStatus.WAITING_FOR_LABELS
        jobs.requeue_waiting(tx, job.id)
        lease = jobs.claim(tx, job.id, "worker", 60.0)
        assert lease is not None
        jobs.finish(tx, lease, JobStatus.HELD, verdict=verdict)
        state = reports.load_state(tx, MODEL)
        assert state is not None
        reports.save_state(tx, replace(state, cooldown_until=4e9))  # no next job: it would ask by itself
    tick(station)
    return place.jobs()[0]


def requests(place: Place) -> list[LabelRequest]:
    with place.ledger.begin() as tx:
        return label_requests.lease_requests(tx, MODEL, ANN, limit=1000, lease_s=0.0)


def answered(place: Place, chosen: list[LabelRequest]) -> None:
    with place.ledger.begin() as tx:
        for number, request in enumerate(chosen):
            label_requests.answer(tx, request.id, ("neg", "pos")[number % 2], ANN)


def test_it_asks_until_the_labels_are_there(place: Place, station: Station) -> None:
    """What waited and expired is asked for again; the answers are what the next job has."""
    job = held(place, station)
    assert (job.status, job.asks) == (JobStatus.HELD, True)
    asked = requests(place)
    assert {request.job_id for request in asked} == {job.id}
    assert {request.part for request in asked} == {"train", "selection", "gate"}
    with place.ledger.read() as tx:
        assert label_requests.standing(tx, MODEL).open == len(asked)
    station.asking._looked_at.clear()
    answered(place, asked)
    tick(station)
    assert place.jobs()[0].missing is None
    assert requests(place) == []
    with place.ledger.read() as tx:
        assert set(label_requests.asked(tx, job.id).values()) == {RequestState.ANSWERED}


def test_what_nobody_answered_in_time_is_asked_again(place: Place, station: Station) -> None:
    job = held(place, station)
    before = {request.key for request in requests(place)}
    with place.ledger.begin() as tx:
        label_requests.close(tx, job.id)
    assert requests(place) == []
    station.asking._looked_at.clear()
    tick(station)
    assert {request.key for request in requests(place)} == before


def test_it_stops_when_the_drift_is_over(place: Place, station: Station) -> None:
    held(place, station)
    assert requests(place)
    for part in range(30):
        place.send(traffic(WINDOW // 5, 0.0, seed=900 + part))
        tick(station)
    assert not place.state().in_alarm
    assert place.jobs()[0].missing is None
    assert requests(place) == []


def test_it_stops_when_the_drift_is_accepted(place: Place, station: Station) -> None:
    held(place, station)
    with place.ledger.begin() as tx:
        state = reports.load_state(tx, MODEL)
        assert state is not None
        reports.save_state(tx, replace(state, state=DriftState.ACKNOWLEDGED, acknowledged_ratio=1e9))
    tick(station)
    assert requests(place) == []


def test_it_stops_when_another_job_is_opened(place: Place, station: Station) -> None:
    job = held(place, station)
    with place.ledger.begin() as tx:
        jobs.open_job(tx, MODEL, cause={"kind": "manual"}, domain="", window_from_seq=1)
    tick(station)
    with place.ledger.read() as tx:
        assert jobs.get_job(tx, job.id).missing is None
    assert requests(place) == []


def test_a_held_candidate_asks_for_what_would_decide(place: Place, station: Station) -> None:
    """Ten labels of the gate's part are what the settings want; its test would decide with 25 in all."""
    job = held(place, station, undecided(15, 10))
    assert job.missing is not None
    assert job.missing["gate"] == 25


@pytest.mark.parametrize(
    ("verdict", "gate"),
    [
        ({"missing": {"train": 5}, "checks": []}, 0),
        ({"missing": {}, "checks": []}, None),
        ({}, None),
        (undecided(120, 40), 160),
        (undecided(120, None), None),
        (undecided(120, MOST_ASKED), None),
        ({"checks": [{"name": "integrity", "result": "pass"}]}, None),
    ],
)
def test_what_a_verdict_waits_for(verdict: dict[str, Any], gate: int | None) -> None:
    wanted = Wanted.of(verdict)
    assert (wanted and wanted.gate) == gate


def test_one_that_is_held_for_another_reason_asks_nothing(place: Place, station: Station) -> None:
    assert held(place, station, {"verdict": "hold", "checks": [], "missing": {}}).missing is None
    assert requests(place) == []
