"""Server-sent events over HTTP: as they come, in order, resumed where they stopped, and never in a server's way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service import event_stream
from tests.fixtures.deployment import Deployment, RunningApi
from trimtab.ledger import jobs
from trimtab.ledger.events import last_event_seq, record_event

URL = "/admin/v1/events"
SSE = {"Accept": "text/event-stream"}


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "LOOK_S", 0.02)


def messages(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Each message as {event, id, data}; comments are left out."""
    fields: dict[str, Any] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = json.loads(value) if name == "data" else value
        elif not line and fields:
            yield fields
            fields = {}


def record(toy: Deployment, *kinds: str) -> list[int]:
    with toy.ledger.begin() as tx:
        return [record_event(tx, kind, None, {"n": i}) for i, kind in enumerate(kinds)]


def events_of(found: Iterator[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    only = (each for each in found if each.get("event") == "event")
    return [next(only) for _ in range(n)]


def test_events_come_as_they_happen(shared_toy: Deployment, api: RunningApi) -> None:
    with api.http.stream("GET", URL, headers=SSE) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["X-Accel-Buffering"] == "no"
        found = messages(response)
        assert set(next(found)) == {"retry", "id"}
        seqs = record(shared_toy, "one", "two")
        told = events_of(found, 2)
    assert [int(each["id"]) for each in told] == seqs
    assert [each["data"]["kind"] for each in told] == ["one", "two"]
    assert told[0]["data"] == {
        "seq": seqs[0],
        "at": told[0]["data"]["at"],
        "kind": "one",
        "model": None,
        "actor": "system",
        "detail": {"n": 0},
    }


def test_who_comes_back_misses_nothing_and_is_told_nothing_twice(
    shared_toy: Deployment, api: RunningApi
) -> None:
    seqs = record(shared_toy, "a", "b", "c")
    for asked in (
        {"headers": SSE | {"Last-Event-ID": str(seqs[0])}},
        {"headers": SSE, "params": {"after": seqs[0]}},
    ):
        with api.http.stream("GET", URL, **asked) as response:
            assert [int(each["id"]) for each in events_of(messages(response), 2)] == seqs[1:]


def test_an_id_that_is_none_of_ours_starts_now(shared_toy: Deployment, api: RunningApi) -> None:
    record(shared_toy, "before")
    with api.http.stream("GET", URL, headers=SSE | {"Last-Event-ID": "x" * 20}) as response:
        found = messages(response)
        next(found)
        (seq,) = record(shared_toy, "after")
        assert [int(each["id"]) for each in events_of(found, 1)] == [seq]


def test_what_changes_without_an_event_is_a_pulse(shared_toy: Deployment, api: RunningApi) -> None:
    with shared_toy.ledger.begin() as tx:
        job = jobs.open_job(tx, "toy", cause={}, domain="d", window_from_seq=0)
        lease = jobs.claim(tx, job.id, "w", 60.0)
        assert lease is not None
    with api.http.stream("GET", URL, headers=SSE) as response:
        pulses = (each["data"]["toy"] for each in messages(response) if each.get("event") == "pulse")
        assert next(pulses)["job"]["progress"] is None
        with shared_toy.ledger.begin() as tx:
            jobs.set_progress(tx, lease, {"stage": "training", "step": 1, "of": 9})
        assert next(pulses)["job"]["progress"]["step"] == 1
        with shared_toy.ledger.begin() as tx:
            jobs.cancel(tx, job.id)
        assert next(pulses)["job"] is None


def test_a_stream_ends_after_its_life(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "LIFE_S", 0.1)
    monkeypatch.setattr(event_stream, "BEAT_S", 0.03)
    assert ": still here" in api.http.get(URL, headers=SSE).text


def test_a_server_that_ends_waits_for_no_stream(toy: Deployment) -> None:
    reading = threading.Event()
    rest: list[bytes] = []

    def read(url: str) -> None:
        with httpx.stream("GET", url + URL, headers=SSE, timeout=30) as response:
            parts = response.iter_bytes()
            next(parts)
            reading.set()
            rest.extend(parts)

    with toy.running(ready=False) as api:
        reader = threading.Thread(target=read, args=(api.url,))
        reader.start()
        assert reading.wait(20)
        began = time.monotonic()
    reader.join()
    # The alternative is the patience for requests that are under way.
    assert time.monotonic() - began < toy.settings.server.drain_s


def test_pages_of_events_newest_first(shared_toy: Deployment, api: RunningApi) -> None:
    seqs = record(shared_toy, *(f"e{i}" for i in range(5)))
    first = api.http.get(URL, params={"order": "newest", "limit": 2}).json()["events"]
    assert [each["seq"] for each in first] == [seqs[4], seqs[3]]
    then = api.http.get(URL, params={"order": "newest", "limit": 2, "before": seqs[3]}).json()["events"]
    assert [each["seq"] for each in then] == [seqs[2], seqs[1]]
    with shared_toy.ledger.read() as tx:
        assert last_event_seq(tx) == seqs[4]
