"""Open Inference Protocol over HTTP: the same answers as /v1/predict, by the version that was asked."""

from __future__ import annotations

import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest

from tests.fixtures.deployment import RunningApi

TEXTS = ["a good film", "the battery is bad", "boring"]
ALL = ["label", "probabilities", "logits", "embedding"]


def infer(api: RunningApi, path: str = "toy", texts: list[Any] = TEXTS, **more: Any) -> httpx.Response:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return api.http.post(f"/v2/models/{path}/infer", json={"inputs": [tensor], **more})


def test_every_output_is_what_the_version_says(api: RunningApi) -> None:
    response = infer(api, outputs=[{"name": name} for name in ALL])
    body, bundle = response.json(), api.serving.routing.table.routes["toy"].champion
    assert response.status_code == 200
    outputs = bundle.predict(TEXTS)
    expected = {
        "probabilities": bundle.probabilities(outputs.logits),
        "logits": outputs.logits,
        "embedding": outputs.pooled,
    }
    by_name = {output["name"]: output for output in body["outputs"]}
    assert list(by_name) == ALL
    for name, values in expected.items():
        assert by_name[name]["shape"] == list(values.shape)
        assert np.abs(np.array(by_name[name]["data"]).reshape(values.shape) - values).max() < 1e-5
    labels = [bundle.labels[i] for i in expected["probabilities"].argmax(axis=1)]
    assert (by_name["label"]["shape"], by_name["label"]["data"]) == ([3], labels)


def test_an_answer_says_where_it_comes_from(api: RunningApi) -> None:
    response = infer(api, id="mine")
    body, bundle = response.json(), api.serving.routing.table.routes["toy"].champion
    assert (body["model_name"], body["model_version"], body["id"]) == ("toy", "2", "mine")
    assert [output["name"] for output in body["outputs"]] == ["label", "probabilities"]
    assert body["parameters"] == {
        "prediction_id": response.headers["X-Prediction-Id"],
        "adapter_digest": response.headers["X-Adapter-Digest"],
        "generation": int(response.headers["X-Generation"]),
    }
    assert response.headers["X-Adapter-Digest"] == bundle.digest
    assert response.headers["X-Model-Version"] == "2"
    without = infer(api).json()
    assert without["id"] == without["parameters"]["prediction_id"] != body["parameters"]["prediction_id"]


@pytest.mark.parametrize(
    ("version", "answers"), [("1", "1"), ("2", "2"), ("previous", "1"), ("champion", "2")]
)
def test_a_version_is_named_by_number_or_alias(api: RunningApi, version: str, answers: str) -> None:
    assert infer(api, f"toy/versions/{version}").json()["model_version"] == answers


@pytest.mark.parametrize(
    ("path", "status"),
    [("nobody", 404), ("toy/versions/3", 404), ("toy/versions/challenger", 404), ("toy/versions/²", 404)],
)
def test_what_is_not_served(api: RunningApi, path: str, status: int) -> None:
    response = infer(api, path)
    assert response.status_code == status
    assert isinstance(response.json()["error"], str)


def test_tensors_go_in_and_out_as_bytes(api: RunningApi) -> None:
    blob = b"".join(struct.pack("<I", len(text)) + text.encode() for text in TEXTS)
    head = {
        "inputs": [
            {"name": "text", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": len(blob)}}
        ],
        "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
    }
    text = json.dumps(head).encode()
    response = api.http.post(
        "/v2/models/toy/infer",
        content=text + blob,
        headers={
            "Inference-Header-Content-Length": str(len(text)),
            "Content-Type": "application/octet-stream",
        },
    )
    assert response.headers["Content-Type"] == "application/octet-stream"
    length = int(response.headers["Inference-Header-Content-Length"])
    (output,) = json.loads(response.content[:length])["outputs"]
    logits = np.frombuffer(response.content[length:], dtype="<f4").reshape(output["shape"])
    bundle = api.serving.routing.table.routes["toy"].champion
    assert np.abs(logits - bundle.predict(TEXTS).logits).max() < 1e-5


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"{", 400, "invalid-tensor"),
        (b'{"inputs": []}', 400, "invalid-tensor"),
        (b"x" * 2_000_001, 413, "body-too-large"),
    ],
)
def test_what_cannot_be_read(api: RunningApi, body: bytes, status: int, slug: str) -> None:
    response = api.http.post("/v2/models/toy/infer", content=body)
    assert (response.status_code, response.json()["type"]) == (status, f"urn:trimtab:problem:{slug}")
    assert response.json()["error"]


def test_limits_are_those_of_predict(api: RunningApi) -> None:
    assert infer(api, texts=["a"] * 33).status_code == 422
    assert infer(api, texts=["a " * 500], parameters={"truncate": False}).status_code == 422
    assert infer(api, texts=["a " * 500]).status_code == 200
