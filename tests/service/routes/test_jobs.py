"""Adaptation jobs over HTTP, and Alertmanager's webhook."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.fixtures.deployment import Deployment, eventually
from trimtab.drift import MonitorState
from trimtab.errors import QueueUnavailable
from trimtab.ledger import feedback, reports, samples
from trimtab.ledger.feedback import FeedbackItem
from trimtab.samples import Sample, SampleBlock
from trimtab.settings import TrainingSettings

FEW = TrainingSettings(min_train_labels=2, min_labels_per_class=1, min_selection_labels=0, min_gate_labels=10)


@pytest.fixture
def served(toy: Deployment) -> Deployment:
    toy.create_model()
    toy.add_version(1)
    toy.settings = toy.settings.model_copy(update={"training": FEW})
    return toy


def add_labels(toy: Deployment, n: int) -> None:
    """Labelled traffic, as monitor and clients bring it."""
    rows = [
        Sample(
            f"r{i}:0",
            "toy",
            1,
            1,
            f"text number {i}",
            "positive",
            0.9,
            None,
            None,
            "anonymous",
            1.0 * i,
            (0.5,),
        )
        for i in range(n)
    ]
    labels = [
        FeedbackItem(prediction_id=row.prediction_id, label=("negative", "positive")[i % 2])
        for i, row in enumerate(rows)
    ]
    with toy.ledger.begin() as tx:
        samples.ingest(tx, [("1-0", SampleBlock("block", "replica", tuple(rows)))])
        feedback.record_feedback(tx, labels)


def test_without_labels_a_job_waits_and_says_for_what(served: Deployment) -> None:
    with served.running() as api:
        response = api.http.post(
            "/admin/v1/models/toy/adapt", json={"reason": "new season", "domain": "tweets"}
        )
        job = response.json()
        assert response.status_code == 202
        assert (job["status"], job["domain"]) == ("waiting_for_labels", "tweets")
        assert job["missing"] == {"train": 2, "gate": 10, "train:negative": 1, "train:positive": 1}
        assert job["deadline_at"] > job["created_at"]
        assert job["cause"] == {"kind": "manual", "actor": "anonymous", "reason": "new season"}
        assert served.nudged == []
        again = api.http.post("/admin/v1/models/toy/adapt")
        assert (again.status_code, again.json()["type"]) == (409, "urn:trimtab:problem:job-in-flight")
        assert api.http.get(f"/admin/v1/jobs/{job['id']}").json() == job
        assert [each["id"] for each in api.http.get("/admin/v1/jobs").json()["jobs"]] == [job["id"]]
        assert api.http.get(f"/admin/v1/jobs/{job['id'][:8]}").json() == job
        assert api.http.post(f"/admin/v1/jobs/{job['id'][:7]}/cancel").status_code == 404
        cancelled = api.http.post(f"/admin/v1/jobs/{job['id'][:8]}/cancel").json()
        assert cancelled["status"] == "cancelled"
        assert api.http.get("/admin/v1/jobs", params={"status": "queued"}).json() == {"jobs": []}


def test_with_labels_a_job_is_queued_and_a_worker_is_told(served: Deployment) -> None:
    add_labels(served, 120)
    with served.running() as api:
        job = api.http.post("/admin/v1/models/toy/adapt").json()
        assert (job["status"], job["missing"], job["window_from_seq"]) == ("queued", None, 1)
        assert served.nudged == [job["id"]]


def test_a_queue_that_is_away_does_not_fail_the_order(served: Deployment) -> None:
    def unreachable(_job: str) -> None:
        raise QueueUnavailable

    add_labels(served, 120)
    served.nudge = unreachable
    with served.running() as api:
        assert api.http.post("/admin/v1/models/toy/adapt").json()["status"] == "queued"


def test_a_window_begins_where_the_monitor_saw_the_change(served: Deployment) -> None:
    add_labels(served, 120)
    state = MonitorState(model="toy", version=1, after_seq=10, change_from_seq=60)
    with served.ledger.begin() as tx:
        reports.save_state(tx, state)
    with served.running() as api:
        seen = api.http.post("/admin/v1/models/toy/adapt").json()
        assert seen["window_from_seq"] == 60
        api.http.post(f"/admin/v1/jobs/{seen['id']}/cancel")
        named = api.http.post("/admin/v1/models/toy/adapt", json={"from_seq": 5}).json()
        assert named["window_from_seq"] == 5
        api.http.post(f"/admin/v1/jobs/{named['id']}/cancel")
        with served.ledger.begin() as tx:
            reports.save_state(tx, replace(state, change_from_seq=None))
        assert api.http.post("/admin/v1/models/toy/adapt").json()["window_from_seq"] == 11


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/admin/v1/models/nobody/adapt", 404),
        ("GET", "/admin/v1/jobs/nothing", 404),
        ("POST", "/admin/v1/jobs/nothing/cancel", 404),
        ("GET", "/admin/v1/jobs?status=fast", 422),
        ("GET", "/admin/v1/jobs?limit=0", 422),
    ],
)
def test_wrong_orders(api: Any, method: str, path: str, status: int) -> None:
    assert api.http.request(method, path).status_code == status


def alert(
    name: str = "TrimtabDriftDetected", status: str = "firing", model: str | None = "toy"
) -> dict[str, Any]:
    labels = {"alertname": name} | ({"model": model} if model else {})
    return {"status": status, "labels": labels, "annotations": {}, "fingerprint": "f00"}


def test_a_firing_drift_alert_opens_one_job(served: Deployment) -> None:
    with served.running() as api:
        group = {"version": "4", "receiver": "trimtab", "alerts": [alert(), alert("TrimtabDriftHarmful")]}
        first, second = api.http.post("/admin/v1/alerts", json=group).json()["outcomes"]
        job = api.http.get(f"/admin/v1/jobs/{first['job']}").json()
        assert job["cause"] == {"kind": "alert", "alert": "TrimtabDriftDetected", "fingerprint": "f00"}
        assert (second["job"], first["job"] in second["reason"]) == (None, True)


def test_other_alerts_open_nothing(served: Deployment) -> None:
    others = [alert(status="resolved"), alert("HighLatency"), alert(model=None), alert(model="nobody")]
    with served.running() as api:
        outcomes = api.http.post("/admin/v1/alerts", json={"alerts": others}).json()["outcomes"]
        assert [outcome["job"] for outcome in outcomes] == [None] * 4
        assert all(outcome["reason"] for outcome in outcomes)
        assert api.http.get("/admin/v1/jobs").json() == {"jobs": []}
        assert api.http.post("/admin/v1/alerts", json={"alerts": [{}]}).status_code == 422


def test_an_alert_obeys_the_cooldown(served: Deployment) -> None:
    with served.ledger.begin() as tx:
        reports.save_state(tx, MonitorState(model="toy", cooldown_until=4e9))
    with served.running() as api:
        outcome = api.http.post("/admin/v1/alerts", json={"alerts": [alert()]}).json()["outcomes"][0]
        assert "cooldown" in outcome["reason"]
        eventually(lambda: api.http.get("/admin/v1/jobs").json() == {"jobs": []})
