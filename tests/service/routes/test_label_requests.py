"""What to label next over HTTP: leases, answers, second thoughts, and Label Studio."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fixtures.deployment import Deployment, RunningApi
from tests.fixtures.ledgers import block, sample
from trimtab.jobs import JobStatus
from trimtab.ledger import feedback, jobs, label_requests, samples
from trimtab.ledger.label_requests import NewRequest, Reason
from trimtab.splits import key_of

N = 12
PATH = "/v1/label-requests"


@pytest.fixture
def asked(shared_toy: Deployment) -> Iterator[str]:
    """A job of `toy` that waits for labels, with twelve requests, every second one at random; its id."""
    with shared_toy.ledger.begin() as tx:
        samples.ingest(tx, [block(f"b-{uuid.uuid4().hex}", (_sample(n) for n in range(N)))])
        job = jobs.open_job(
            tx, "toy", cause={}, domain="", window_from_seq=1,
            status=JobStatus.WAITING_FOR_LABELS, missing={"train": 20, "train:negative": 9},
        )  # fmt: skip
        rows = samples.window_rows(tx, "toy", 1, N)
        wanted = [
            NewRequest(
                seq=row.seq,
                key=key_of(row.text or ""),
                part="train",
                reason=(Reason.RANDOM, Reason.UNCERTAIN)[n % 2],
            )
            for n, row in enumerate(rows)
        ]
        assert label_requests.ask(tx, "toy", job.id, wanted, expires_at=4e9) == N
    yield job.id
    with shared_toy.ledger.begin() as tx:
        jobs.cancel(tx, job.id, actor="test")
        samples.expire(tx, 0.0)


def _sample(n: int) -> Any:
    return sample(n, model="toy", label="positive", version=2, domain="chat")


def listed(api: RunningApi, **query: Any) -> dict[str, Any]:
    response = api.http.get(PATH, params=query)
    assert response.status_code == 200, response.text
    assert response.headers["Cache-Control"] == "no-store"
    body: dict[str, Any] = response.json()
    return body


def settle(api: RunningApi, request_id: str, **body: Any) -> httpx.Response:
    return api.http.post(f"{PATH}/{request_id}", json=body)


def ids(body: dict[str, Any]) -> list[str]:
    return [each["id"] for each in body["requests"]]


def labels_of(toy: Deployment) -> dict[str, tuple[str, str]]:
    with toy.ledger.read() as tx:
        return {row.prediction_id: (row.label, row.predicted) for row in feedback.labelled(tx, "toy")}


def test_without_a_job_nothing_is_asked(api: RunningApi) -> None:
    assert listed(api, model="toy") == {
        "requests": [], "open": 0, "answered": 0, "wanted": 0, "estimate": None,
    }  # fmt: skip


@pytest.mark.usefixtures("asked")
def test_a_request_shows_the_text_and_the_labels_but_not_the_prediction(api: RunningApi) -> None:
    body = listed(api, model="toy", limit=3)
    assert (body["open"], body["answered"], body["wanted"]) == (N, 0, 20)
    first = body["requests"][0]
    assert first["labels"] == ["negative", "positive"]
    assert first["text"].startswith("text number")
    assert (first["domain"], first["state"], first["label"]) == ("chat", "open", None)
    assert first["leased_until"] > first["created_at"]
    assert not {"predicted", "score"} & set(first)


@pytest.mark.usefixtures("asked")
def test_two_people_who_share_a_key_get_different_texts_and_each_the_same_again(api: RunningApi) -> None:
    ann, bob = (ids(listed(api, annotator=name, limit=5)) for name in ("ann", "bob"))
    assert (len(ann), len(bob)) == (5, 5)
    assert not set(ann) & set(bob)
    assert ids(listed(api, annotator="ann", limit=5)) == ann
    assert len(ids(listed(api, annotator="cid", limit=5))) == N - 10
    refused = settle(api, ann[0], label="positive", annotator="bob")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:trimtab:problem:label-request-taken")


@pytest.mark.usefixtures("asked")
def test_looking_leases_nothing(api: RunningApi) -> None:
    assert len(ids(listed(api, annotator="ann", lease=0))) == N
    assert len(ids(listed(api, annotator="bob"))) == N


@pytest.mark.usefixtures("asked")
def test_an_answer_is_feedback_and_counts(shared_toy: Deployment, api: RunningApi) -> None:
    requests = listed(api)["requests"]
    for request in requests:
        label = "negative" if request["id"] == requests[0]["id"] else "positive"
        settled = settle(api, request["id"], label=label).json()
        assert (settled["state"], settled["label"], settled["leased_until"]) == ("answered", label, None)
    assert labels_of(shared_toy)[requests[0]["prediction_id"]] == ("negative", "positive")
    body = listed(api, model="toy")
    assert (body["requests"], body["open"], body["answered"], body["wanted"]) == ([], 0, N, N + 20)
    wrong = 1 if requests[0]["reason"] == "random" else 0
    estimate = body["estimate"]
    assert estimate["n"] == N // 2
    assert estimate["accuracy"] == pytest.approx(1 - wrong / (N // 2))
    assert 0 < estimate["low"] < estimate["accuracy"] <= estimate["high"] <= 1


@pytest.mark.usefixtures("asked")
def test_second_thoughts(shared_toy: Deployment, api: RunningApi) -> None:
    first, second = listed(api, limit=2)["requests"]
    settle(api, first["id"], label="negative")
    assert settle(api, first["id"], label="positive").json()["label"] == "positive"
    assert settle(api, second["id"], skip=True).json()["state"] == "skipped"
    assert (listed(api)["open"], listed(api)["answered"]) == (N - 2, 1)
    for request in (first, second):
        undone = settle(api, request["id"], undo=True).json()
        assert (undone["state"], undone["label"], undone["text"]) == ("open", None, request["text"])
        assert undone["leased_until"] is not None
    assert labels_of(shared_toy) == {}
    assert (listed(api)["open"], listed(api)["answered"]) == (N, 0)


@pytest.mark.usefixtures("asked")
def test_what_cannot_be_taken(api: RunningApi) -> None:
    (request,) = listed(api, limit=1)["requests"]
    unknown = settle(api, request["id"], label="wonderful")
    assert (unknown.status_code, "wonderful" in unknown.json()["detail"]) == (422, True)
    for body in ({}, {"skip": False}, {"label": "positive", "skip": True}, {"undo": True, "skip": True}):
        assert settle(api, request["id"], **body).status_code == 422
    assert settle(api, "0" * 32, skip=True).status_code == 404
    assert api.http.get(PATH, params={"model": "nobody"}).status_code == 404
    assert listed(api)["open"] == N


@pytest.mark.usefixtures("asked")
def test_a_round_trip_through_label_studio(shared_toy: Deployment, api: RunningApi) -> None:
    tasks = api.http.get(PATH, params={"format": "label-studio", "limit": 3, "lease": 86_400}).json()
    assert len(tasks) == 3
    assert tasks[0]["data"]["labels"] == [{"value": "negative"}, {"value": "positive"}]
    assert "predictions" not in tasks[0]
    said = [_annotated(tasks[0], "negative"), _annotated(tasks[0], "positive", action="ANNOTATION_UPDATED")]
    said += [_annotated(tasks[1], cancelled=True), _annotated(tasks[2], "positive", action="TASKS_CREATED")]
    said += [_annotated(tasks[2], "positive", by={"id": 7, "email": "ann@example.org"})]
    outcomes = [api.http.post(f"{PATH}/webhook/label-studio", json=each).json()["outcome"] for each in said]
    assert outcomes == ["answered", "answered", "skipped", "ignored", "answered"]
    labels = labels_of(shared_toy)
    assert {labels[tasks[i]["data"]["prediction_id"]][0] for i in (0, 2)} == {"positive"}
    assert len(labels) == 2


@pytest.mark.usefixtures("asked")
def test_annotations_that_answer_nothing_are_refused(api: RunningApi) -> None:
    (task,) = api.http.get(PATH, params={"format": "label-studio", "limit": 1}).json()
    unknown = task | {"data": task["data"] | {"request_id": "0" * 32}}
    for said, status in (
        (_annotated(task), 422),
        (_annotated(unknown, "positive"), 404),
        ({"action": 1}, 422),
    ):
        assert api.http.post(f"{PATH}/webhook/label-studio", json=said).status_code == status
    assert listed(api)["open"] == N


def _annotated(
    task: dict[str, Any],
    *choices: str,
    action: str = "ANNOTATION_CREATED",
    cancelled: bool = False,
    by: Any = 7,
) -> dict[str, Any]:
    """What Label Studio sends, with members that are of no use to us."""
    result = {
        "id": "Dx_aB91ISN", "from_name": "label", "to_name": "text", "type": "choices",
        "value": {"choices": list(choices)}, "origin": "manual",
    }  # fmt: skip
    annotation = {
        "id": 1,
        "completed_by": by,
        "result": [result] if choices else [],
        "was_cancelled": cancelled,
    }
    return {
        "action": action, "annotation": annotation | {"lead_time": 4.2},
        "task": {"id": 1, "project": 83, **task}, "project": {"id": 83},
    }  # fmt: skip
