"""POST /v1/predict: shapes, pins, limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.fixtures.deployment import RunningApi

TEXT = "a good film"
TEXTS = [TEXT, "the battery is bad and the price is not cheap at all", "boring", "win win win !"]


def problem_type(response: Any) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"]).removeprefix("urn:trimtab:problem:")


def test_one_text(api: RunningApi) -> None:
    response = api.http.post("/v1/predict", json={"inputs": TEXT}, headers={"X-Request-Id": "call-1"})
    body = response.json()
    assert response.status_code == 200
    bundle = api.serving.routing.table.routes["toy"].champion
    probabilities = bundle.probabilities(bundle.predict([TEXT]).logits)[0]
    assert body["predictions"] == [
        {
            "id": f"{body['id']}:0",
            "label": bundle.labels[probabilities.argmax()],
            "score": float(probabilities.max()),
        }
    ]
    assert (body["model"], body["model_version"]) == ("toy", 2)
    assert body["adapter_digest"] == bundle.digest
    assert response.headers["X-Prediction-Id"] == body["id"]
    assert response.headers["X-Model-Version"] == "2"
    assert response.headers["X-Adapter-Digest"] == bundle.digest
    assert response.headers["X-Generation"] == str(body["generation"])


def test_several_items_keep_their_order_and_names(api: RunningApi) -> None:
    inputs = [TEXTS[0], {"text": TEXTS[1], "id": "mine", "domain": "phones", "group": "g"}, *TEXTS[2:]]
    body = api.predict(inputs, parameters={"return": ["scores"]}).json()
    bundle = api.serving.routing.table.routes["toy"].champion
    expected = bundle.probabilities(bundle.predict(TEXTS).logits)
    answered = [[item["scores"][label] for label in bundle.labels] for item in body["predictions"]]
    assert np.abs(np.array(answered) - expected).max() < 1e-5
    assert [item["id"] for item in body["predictions"]] == [f"{body['id']}:{i}" for i in range(4)]
    assert [item.get("item_id") for item in body["predictions"]] == [None, "mine", None, None]


def test_scores_and_embedding_on_request(api: RunningApi) -> None:
    item = api.predict(TEXT, parameters={"top_k": 1, "return": ["embedding"]}).json()["predictions"][0]
    assert item["scores"] == {item["label"]: item["score"]}
    assert len(item["embedding"]) == 32
    whole = api.predict(TEXT, parameters={"return": ["scores"]}).json()["predictions"][0]["scores"]
    assert sum(whole.values()) == pytest.approx(1.0, abs=1e-6)
    assert list(whole.values()) == sorted(whole.values(), reverse=True)


@pytest.mark.parametrize(
    ("version", "answers"), [(1, 1), (2, 2), ("1", 1), ("champion", 2), ("previous", 1), (None, 2)]
)
def test_a_version_is_pinned_by_number_or_alias(api: RunningApi, version: Any, answers: int) -> None:
    response = api.predict(TEXT, version=version)
    assert response.json()["model_version"] == answers
    assert response.headers["X-Model-Version"] == str(answers)


@pytest.mark.parametrize("version", [3, "challenger"])
def test_a_version_that_is_not_loaded_is_told_with_those_that_are(api: RunningApi, version: Any) -> None:
    response = api.predict(TEXT, version=version)
    assert (response.status_code, problem_type(response)) == (404, "version-not-loaded")
    assert "1 (previous), 2 (champion)" in response.json()["detail"]


def test_an_unknown_parameter_is_refused_with_those_that_are_known(api: RunningApi) -> None:
    response = api.predict(TEXT, parameters={"topk": 2, "truncate": True})
    assert response.status_code == 422
    known = "known are return, sample, timeout_ms, top_k, truncate"
    assert f"there is no parameter topk: {known}" in response.json()["detail"]


def test_an_unknown_model(api: RunningApi) -> None:
    response = api.predict(TEXT, model="other")
    assert (response.status_code, problem_type(response)) == (404, "model-not-found")
    assert "toy" in response.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": ""},
        {"inputs": []},
        {"inputs": 3},
        {"inputs": [{"txt": "a"}]},
        {"inputs": "a", "version": 0},
        {"inputs": "a", "version": "Not An Alias"},
        {"inputs": "a", "version": 1.5},
        {"inputs": "a", "parameters": {"top_k": 0}},
        {"inputs": "a", "parameters": {"return": ["everything"]}},
        {"inputs": [{"text": "a", "domain": "line\nbreak"}]},
        {"inputs": ["a"] * 33},
        {"inputs": "a " * 200, "parameters": {"truncate": False}},
        ["a"],
        None,
    ],
)
def test_what_is_not_valid_is_told(api: RunningApi, body: Any) -> None:
    response = api.http.post("/v1/predict", json=body)
    assert (response.status_code, problem_type(response)) == (422, "validation")
    assert response.json()["detail"]


def test_lone_surrogates_are_refused_not_computed(api: RunningApi) -> None:
    headers = {"Content-Type": "application/json"}
    response = api.http.post("/v1/predict", content=b'{"inputs": "\\ud800"}', headers=headers)
    assert (response.status_code, problem_type(response)) == (422, "validation")


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b""])
def test_a_broken_body(api: RunningApi, body: bytes) -> None:
    response = api.http.post("/v1/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == (422 if not body else 400)
    assert problem_type(response) == ("validation" if not body else "malformed-body")


def test_a_body_without_its_content_type_is_told_which_header_lacks(api: RunningApi) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}  # what curl's -d alone sends
    response = api.http.post("/v1/predict", content=b'{"inputs": "x"}', headers=headers)
    assert (response.status_code, problem_type(response)) == (422, "validation")
    assert response.json()["detail"] == "body: send it with the header Content-Type: application/json"


def test_long_texts_are_cut_unless_asked_otherwise(api: RunningApi) -> None:
    assert api.predict("a " * 500).status_code == 200
    refused = api.predict(["a", "a " * 500], parameters={"truncate": False})
    assert "inputs.1" in refused.json()["detail"]


def test_any_text_is_answered(api: RunningApi) -> None:
    texts = [
        "\x00",
        "😀" * 50,
        "\u200f\u05e2\u05d1\u05e8\u05d9\u05ea",
        " ",
        "a\n\r\tb",
        "\u0301",
        "x" * 10_000,
    ]
    assert api.predict(texts).status_code == 200


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "1.5"])
def test_numbers_that_are_none_are_refused(api: RunningApi, literal: str) -> None:
    headers = {"Content-Type": "application/json"}
    body = f'{{"inputs": "a", "parameters": {{"top_k": {literal}}}}}'.encode()
    assert api.http.post("/v1/predict", content=body, headers=headers).status_code == 422


def test_a_name_that_is_no_text_is_refused_and_can_be_told(api: RunningApi) -> None:
    headers = {"Content-Type": "application/json", "If-Match": '"1"'}
    body = b'{"version": 1, "\\ud800": 1}'
    response = api.http.put("/admin/v1/models/toy/aliases/champion", content=body, headers=headers)
    assert (response.status_code, problem_type(response)) == (422, "validation")


def test_the_shape_of_hugging_face(api: RunningApi) -> None:
    one = api.http.post("/models/toy", json={"inputs": TEXT})
    scores = api.predict(TEXT, parameters={"return": ["scores"]}).json()["predictions"][0]["scores"]
    assert one.json() == [[{"label": label, "score": score} for label, score in scores.items()]]
    assert one.headers["X-Model-Version"] == "2"
    several = api.http.post("/models/toy", json={"inputs": TEXTS, "parameters": {"top_k": 1}}).json()
    assert [len(row) for row in several] == [1] * len(TEXTS)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/models/nobody", {"inputs": "a"}, 404),
        ("/models/toy", {"inputs": []}, 422),
        ("/models/toy", {"inputs": ["a"] * 33}, 422),
        ("/models/toy", {"inputs": "a", "parameters": {"function_to_apply": "sigmoid"}}, 422),
        ("/models/toy", {"inputs": [["a", "b"]]}, 422),
    ],
)
def test_what_hugging_face_clients_may_not(api: RunningApi, path: str, body: Any, status: int) -> None:
    response = api.http.post(path, json=body)
    assert response.status_code == status
    assert response.json()["error"]
