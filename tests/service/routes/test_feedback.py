"""POST /v1/feedback: one, many, lines; late, early, twice, wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.routes.feedback import MAX_ITEMS
from service.valkey import ValkeyServer
from tests.fixtures.deployment import Deployment, RunningApi, deployment, eventually, flushed
from trimtab.ledger import feedback, samples
from trimtab.samples import SampleStream
from trimtab.settings import LabelsSettings


def send(api: RunningApi, body: Any) -> httpx.Response:
    return api.http.post("/v1/feedback", json=body)


def counts(response: httpx.Response) -> tuple[int, int, int, int, list[int]]:
    assert response.status_code == 202, response.text
    body = response.json()
    rejected = [item["index"] for item in body["rejected"]]
    return body["accepted"], body["joined"], body["pending"], body["duplicates"], rejected


def ingest(toy: Deployment, api: RunningApi, n: int) -> None:
    """What the monitor does: samples from the stream into the ledger, until n more are there."""
    stream, found = SampleStream(api.serving.redis), 0

    def more() -> bool:
        nonlocal found
        blocks = stream.read("monitor", block_ms=10)
        with toy.ledger.begin() as tx:
            found += samples.ingest(tx, blocks)
        stream.ack([stream_id for stream_id, _ in blocks])
        return found >= n

    eventually(more, f"{n} samples")


@pytest.fixture(scope="module")
def ids(shared_toy: Deployment, api: RunningApi) -> list[str]:
    """Ids of four ingested predictions of one request."""
    api.serving.redis.flushall()
    answer = api.predict(["a", "b", "c", "d"]).json()
    ingest(shared_toy, api, 4)
    return [item["id"] for item in answer["predictions"]]


def test_one_label_is_joined_once(shared_toy: Deployment, api: RunningApi, ids: list[str]) -> None:
    body = {"prediction_id": ids[0], "label": "positive"}
    assert counts(send(api, body)) == (1, 1, 0, 0, [])
    assert counts(send(api, body)) == (0, 0, 0, 1, [])
    with shared_toy.ledger.read() as tx:
        rows = {row.prediction_id: row for row in feedback.labelled(tx, "toy")}
    assert (rows[ids[0]].label, rows[ids[0]].client) == ("positive", "anonymous")


def test_a_list_is_taken_item_by_item(api: RunningApi, ids: list[str]) -> None:
    items = [
        {"prediction_id": ids[1], "label": "positive", "annotator": "ann"},
        {"prediction_id": ids[1], "label": "wonderful"},
        {"prediction_id": ids[1]},
        {"prediction_id": "unknown:0", "label": "positive"},
        "nonsense",
    ]
    response = send(api, items)
    assert counts(response) == (2, 1, 1, 0, [1, 2, 4])
    assert "wonderful" in response.json()["rejected"][0]["reason"]
    assert "label" in response.json()["rejected"][1]["reason"]


def test_lines_are_taken_like_a_list(api: RunningApi, ids: list[str]) -> None:
    items = [{"prediction_id": ids[2], "label": label} for label in ("positive", "negative")]
    lines = "\n".join(json.dumps(item) for item in items) + "\n\n"
    response = api.http.post("/v1/feedback", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert counts(response) == (2, 2, 0, 0, [])


def test_the_label_observed_last_counts_in_whatever_order(
    shared_toy: Deployment, api: RunningApi, ids: list[str]
) -> None:
    late = {"prediction_id": ids[3], "label": "negative", "observed_at": "2026-02-01T00:00:00Z"}
    early = {"prediction_id": ids[3], "label": "positive", "observed_at": 1_700_000_000}
    assert counts(send(api, [late, early])) == (1, 1, 0, 1, [])
    with shared_toy.ledger.read() as tx:
        rows = {row.prediction_id: row.label for row in feedback.labelled(tx, "toy")}
    assert rows[ids[3]] == "negative"


def test_a_label_may_come_before_its_sample(shared_toy: Deployment, api: RunningApi) -> None:
    early = f"{api.predict('film').json()['id']}:0"
    assert counts(send(api, {"prediction_id": early, "label": "positive"})) == (1, 0, 1, 0, [])
    ingest(shared_toy, api, 1)
    with shared_toy.ledger.read() as tx:
        assert early in {row.prediction_id for row in feedback.labelled(tx, "toy")}


def test_the_bare_id_means_the_only_item(shared_toy: Deployment, api: RunningApi, ids: list[str]) -> None:
    single = api.predict("film").json()["id"]
    ingest(shared_toy, api, 1)
    assert counts(send(api, {"prediction_id": single, "label": "positive"})) == (1, 1, 0, 0, [])
    ambiguous = send(api, [{"prediction_id": ids[0].partition(":")[0], "label": "positive"}])
    assert counts(ambiguous) == (0, 0, 0, 0, [0])
    assert "several items" in ambiguous.json()["rejected"][0]["reason"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prediction_id": "a"},
        {"prediction_id": "", "label": "b"},
        {"prediction_id": "a", "label": "b\n"},
        7,
        "id",
    ],
)
def test_one_wrong_item_is_a_problem(api: RunningApi, body: Any) -> None:
    response = send(api, body)
    assert (response.status_code, response.json()["type"]) == (422, "urn:trimtab:problem:validation")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"prediction_id": "a"}\n{'])
def test_a_broken_body(api: RunningApi, body: bytes) -> None:
    for content_type in ("application/json", "application/x-ndjson"):
        response = api.http.post("/v1/feedback", content=body, headers={"Content-Type": content_type})
        assert response.status_code == (202 if not body and content_type.endswith("ndjson") else 400)


def test_too_many_items(api: RunningApi) -> None:
    response = send(api, [{}] * (MAX_ITEMS + 1))
    assert (response.status_code, response.json()["type"]) == (413, "urn:trimtab:problem:body-too-large")


def test_a_key_may_give_so_many_labels_a_day(
    tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer
) -> None:
    quota = LabelsSettings(daily_quota=2)
    with deployment(tmp_path, tiny_base_dir, flushed(valkey.url), labels=quota) as made:
        items = [{"prediction_id": f"{n}:0", "label": "positive"} for n in (1, 2, 1, 3)]
        with made.running(ready=False) as api:
            response = send(api, items)
        assert counts(response) == (2, 0, 2, 1, [3])
        assert "24 hours" in response.json()["rejected"][0]["reason"]
