"""The client against the real API: what it sends is understood, what fails is one kind of error with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from service.client import ApiClient, CallFailed, Label
from tests.fixtures.deployment import Deployment, RunningApi, eventually


@pytest.fixture
def client(api: RunningApi) -> Iterator[ApiClient]:
    with ApiClient(api.url) as opened:
        yield opened


def test_answers_come_in_order_with_their_version(client: ApiClient) -> None:
    texts = ["good film", "bad film", "the plot"]
    answers = client.predict("toy", texts, scores=True)
    alone = [client.predict("toy", [text], scores=True)[0] for text in texts]
    assert [answer.label for answer in answers] == [answer.label for answer in alone]
    assert {answer.version for answer in answers} == {2}
    assert sum(answers[0].scores.values()) == pytest.approx(1.0)
    assert answers[0].score == max(answers[0].scores.values())
    assert answers[0].seconds > 0


def test_a_pinned_version_answers(client: ApiClient) -> None:
    assert client.predict("toy", ["good film"], version=1)[0].version == 1
    assert client.predict("toy", ["good film"], version="previous")[0].version == 1


def test_traffic_is_sampled_with_domain_and_group_and_a_probe_is_not(
    client: ApiClient, shared_toy: Deployment
) -> None:
    client.predict("toy", ["probe me"], sample=False)
    client.predict("toy", ["traffic"], domains=["film"], groups=["review-1"])
    eventually(lambda: any(row["text"] == "traffic" for row in _stream_rows(shared_toy)), "the sample")
    found = [row for row in _stream_rows(shared_toy) if row["text"] in {"probe me", "traffic"}]
    assert [(row["text"], row["domain"], row["group"]) for row in found] == [("traffic", "film", "review-1")]


def test_feedback_is_counted(client: ApiClient) -> None:
    (answer,) = client.predict("toy", ["good film"])
    outcome = client.feedback([Label(answer.prediction_id, "positive")])
    assert outcome["accepted"] == 1


def test_a_refusal_tells_status_and_reason(client: ApiClient) -> None:
    with pytest.raises(CallFailed, match=r"POST /v1/predict: 404 .*nobody"):
        client.predict("nobody", ["text"])
    with pytest.raises(CallFailed, match="404"):
        client.predict("toy", ["text"], version=9)
    with pytest.raises(CallFailed, match="GET /nothing: 404"):
        client.call("GET", "/nothing")


def test_nobody_there_is_told() -> None:
    with (
        ApiClient("http://127.0.0.1:9", timeout_s=1.0) as nobody,
        pytest.raises(CallFailed, match="ConnectError"),
    ):
        nobody.predict("toy", ["text"])


def _stream_rows(toy: Deployment) -> list[dict[str, str]]:
    """Samples in the stream, as the monitor will read them."""
    with redis.Redis.from_url(toy.settings.redis_url) as raw:
        entries = [entry for key in raw.scan_iter(_type="stream") for entry in raw.xrange(key)]
    blocks = [json.loads(value) for _, fields in entries for value in fields.values()]
    return [row for block in blocks for row in block["samples"]]
