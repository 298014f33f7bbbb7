"""Prediction under limits, as a client meets them."""

from __future__ import annotations

import asyncio
import json
import socket

import httpx
from prometheus_client import REGISTRY

from tests.fixtures.deployment import Deployment, RunningApi, eventually

LONG = "a good film " * 100


def rejected(reason: str) -> float:
    return REGISTRY.get_sample_value("trimtab_rejected_total", {"reason": reason}) or 0.0


def test_a_full_queue_is_429_with_the_time_to_come_back(shared_toy: Deployment) -> None:
    before = rejected("queue_full")
    with shared_toy.running(max_queue_items=4) as api:
        response = api.predict(["a"] * 5)
        assert api.predict(["a"] * 4).status_code == 200
    assert (response.status_code, response.json()["type"]) == (429, "urn:trimtab:problem:overloaded")
    assert int(response.headers["Retry-After"]) >= 1
    assert rejected("queue_full") == before + 1


def test_past_the_deadline_it_is_504(shared_toy: Deployment) -> None:
    with shared_toy.running(deadline_s=0.001) as api:
        response = api.predict([LONG] * 32)
    assert (response.status_code, response.json()["type"]) == (504, "urn:trimtab:problem:deadline-exceeded")


def test_a_client_may_ask_for_a_shorter_deadline_and_not_for_a_longer_one(shared_toy: Deployment) -> None:
    with shared_toy.running() as api:
        assert api.predict([LONG] * 32, parameters={"timeout_ms": 1}).status_code == 504
        assert api.predict("a", parameters={"timeout_ms": 10_000}).status_code == 200
    with shared_toy.running(deadline_s=0.001) as api:
        assert api.predict([LONG] * 32, parameters={"timeout_ms": 60_000}).status_code == 504


def test_who_hangs_up_is_not_computed_for(api: RunningApi) -> None:
    before = rejected("client_gone")
    url = httpx.URL(api.url)
    body = json.dumps({"inputs": [LONG] * 32}).encode()
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )

    def hang_up() -> bool:
        with socket.create_connection((url.host, url.port or 0)) as connection:
            connection.sendall(head.encode() + body)
        return rejected("client_gone") > before

    eventually(hang_up, "a request that is given up")
    assert api.predict("a").status_code == 200


def test_a_long_text_is_cut_or_refused_and_costs_no_more_than_its_start(api: RunningApi) -> None:
    endless = "good film " * 50_000
    cut = api.predict(endless).json()["predictions"][0]["score"]
    assert cut == api.predict("good film " * 300).json()["predictions"][0]["score"]
    refused = api.predict(["ok", endless], parameters={"truncate": False})
    assert (refused.status_code, refused.json()["detail"]) == (422, "inputs.1: more than 160 tokens")


def test_an_answer_says_where_its_time_went(shared_toy: Deployment) -> None:
    with shared_toy.running() as api:
        engine, loop = api.serving.engine, asyncio.new_event_loop()
        prediction = loop.run_until_complete(engine.predict(engine.pick("toy", "previous"), ["a", "b"]))
        loop.close()
    assert prediction.bundle.version == 1
    assert set(prediction.timing) == {"tokenize", "queue", "inference"}
    assert all(seconds >= 0 for seconds in prediction.timing.values())


def test_predictions_are_counted_by_label(api: RunningApi) -> None:
    def counted() -> float:
        values = (
            REGISTRY.get_sample_value(
                "trimtab_predictions_total", {"model": "toy", "version": "2", "label": label}
            )
            for label in ("negative", "positive")
        )
        return sum(value or 0.0 for value in values)

    before = counted()
    api.predict(["a", "b", "c"])
    assert counted() == before + 3


def test_metrics_name_what_is_served(api: RunningApi) -> None:
    text = api.http.get("/metrics").text
    digest = api.serving.routing.table.routes["toy"].champion.digest[:16]
    assert f'trimtab_serving_version_info{{digest="{digest}",model="toy",version="2"}} 1.0' in text
    assert 'trimtab_observed_generation{model="toy"} 2.0' in text
    assert "trimtab_queue_duration_seconds_count" in text
