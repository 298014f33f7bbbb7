"""Bulk scoring: a line in, a line out, in order, by one version; wrong lines stop nobody."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.fixtures.deployment import Deployment, RunningApi, eventually
from trimtab.samples import STREAM, SampleBlock

TEXTS = [f"{word} film number {i}" for i, word in enumerate(["good", "bad", "boring"] * 20)]
NDJSON = {"Content-Type": "application/x-ndjson"}


def stream(api: RunningApi, lines: list[Any], query: str = "") -> list[dict[str, Any]]:
    """Answers to lines: bytes as they are, anything else as JSON."""
    content = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    response = api.http.post(f"/v1/predict/stream{query}", content=content, headers=NDJSON)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_every_line_is_answered_as_predict_answers_it(api: RunningApi) -> None:
    answers = stream(api, TEXTS, "?return=scores")
    assert [answer["index"] for answer in answers] == list(range(len(TEXTS)))
    assert len({answer["id"] for answer in answers}) == len(TEXTS)
    single = [api.predict(text, parameters={"return": ["scores"]}).json()["predictions"][0] for text in TEXTS]
    for answer, alone in zip(answers, single, strict=True):
        assert answer["label"] == alone["label"]
        assert answer["scores"] == pytest.approx(alone["scores"], abs=1e-5)


def test_items_parameters_and_pins(api: RunningApi) -> None:
    (answer,) = stream(api, [{"text": "a", "id": "row-1", "domain": "d"}], "?version=previous&top_k=1")
    assert (answer["item_id"], answer["model_version"], len(answer["scores"])) == ("row-1", 1, 1)
    response = api.http.post("/v1/predict/stream?version=1&return=embedding", content=b'"a"', headers=NDJSON)
    assert len(response.json()["embedding"]) == 32
    assert response.headers["X-Model-Version"] == "1"
    assert response.json()["id"].startswith(response.headers["X-Prediction-Id"])


def test_a_wrong_line_gets_its_problem_and_the_others_go_on(api: RunningApi) -> None:
    wrong = [b"{", b'"\\ud800"', b'""', b"3", b"[]", b'{"txt": "a"}', b"\xff", b"[" * 10_000]
    lines: list[Any] = [line for pair in zip(wrong, TEXTS, strict=False) for line in pair]
    answers = stream(api, [*lines, b"", b"   "])
    assert [answer["index"] for answer in answers] == list(range(2 * len(wrong)))
    for answer in answers[::2]:
        assert answer["status"] == 422
        assert answer["error"]
    assert all("label" in answer for answer in answers[1::2])


@pytest.mark.parametrize(
    ("line", "told"),
    [(b'{"txt": "a"}', "line 2: text: Field required"), (b"3", "line 2: Input should be a valid string")],
)
def test_a_wrong_line_is_named_with_what_it_lacks(api: RunningApi, line: bytes, told: str) -> None:
    assert stream(api, ["a", line])[1]["detail"] == told


def test_nothing_in_nothing_out(api: RunningApi) -> None:
    assert stream(api, []) == []


@pytest.mark.parametrize(
    ("query", "status"),
    [("?model=nobody", 404), ("?version=9", 404), ("?version=A!", 422), ("?top_k=0", 422)],
)
def test_a_wrong_question_is_refused_before_anything_is_computed(
    api: RunningApi, query: str, status: int
) -> None:
    response = api.http.post(f"/v1/predict/stream{query}", content=b'"a"', headers=NDJSON)
    assert response.status_code == status
    assert response.json()["error"]


def test_a_body_may_be_larger_than_others_but_not_without_end(shared_toy: Deployment) -> None:
    with shared_toy.running(max_body_bytes=300, max_stream_bytes=3000) as api:
        long = json.dumps("a" * 400).encode()
        answers = stream(api, [*TEXTS[:40], long])
        assert [("label" in answer) for answer in answers] == [True] * 40 + [False]
        response = api.http.post("/v1/predict/stream", content=b'"a"\n' * 1000, headers=NDJSON)
        assert response.status_code == 413


def test_a_stream_keeps_its_version_while_another_takes_over(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    body = "\n".join(json.dumps(text) for text in TEXTS * 50)
    with toy.running() as api, httpx.Client(base_url=api.url, timeout=60) as client:
        path = "/v1/predict/stream?return=embedding"
        with client.stream("POST", path, content=body, headers=NDJSON) as response:
            lines = response.iter_lines()
            first = json.loads(next(lines))["model_version"]
            toy.add_version(2)
            api.wait_for(2)
            assert api.predict("a").json()["model_version"] == 2
            versions = [json.loads(line)["model_version"] for line in lines]
    assert (first, set(versions), len(versions)) == (1, {1}, len(TEXTS) * 50 - 1)


def test_every_line_becomes_a_sample_unless_told_not_to(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running() as api:
        quiet = stream(api, TEXTS[:3], "?sample=false")
        answers = stream(api, TEXTS)
        found: set[str] = eventually(lambda: _sampled(api, len(TEXTS)), "the samples")
    assert found == {answer["id"] for answer in answers}
    assert not found & {answer["id"] for answer in quiet}


def _sampled(api: RunningApi, n: int) -> set[str]:
    entries: Any = api.serving.redis.xrange(STREAM)
    blocks = [SampleBlock.from_json(fields[b"block"]) for _, fields in entries]
    ids = {sample.prediction_id for block in blocks for sample in block.samples}
    return ids if len(ids) >= n else set()
