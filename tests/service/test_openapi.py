"""The description is true: every code that is answered is declared, problems have their shape, keys are asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.auth import PUBLIC
from tests.fixtures.deployment import RunningApi


@pytest.fixture(scope="module")
def schema(api: RunningApi) -> dict[str, Any]:
    described: dict[str, Any] = api.http.get("/openapi.json").json()
    return described


def test_docs_are_served(api: RunningApi) -> None:
    assert api.http.get("/docs").status_code == 200


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    names = set(schema["components"]["schemas"])

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"].rpartition("/")[2]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()

    assert references(schema) <= names
    assert "HTTPValidationError" not in names


def test_every_operation_declares_its_problems_and_its_role(schema: dict[str, Any]) -> None:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert operation["security"] == ([] if path in PUBLIC else [{"key": []}, {"header": []}])
            for code, response in operation["responses"].items():
                if int(code) >= 400 and path != "/v2/health/ready":
                    content = response["content"]["application/problem+json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, (path, code)
            if path not in PUBLIC:
                assert {"401", "403", "422", "500"} <= set(operation["responses"]), path


def test_a_body_that_is_none_is_answered_as_declared_wherever_one_may_be_sent(
    api: RunningApi, schema: dict[str, Any]
) -> None:
    sent = 0
    for path, operations in schema["paths"].items():
        url = path.replace("{model}", "toy").replace("{version}", "1").replace("{alias}", "blue")
        for method in set(operations) & {"post", "put", "delete"}:
            kinds = operations[method].get("requestBody", {}).get("content", {"application/json": {}})
            for kind in kinds:
                for headers in ({}, {"content-encoding": "br"}):
                    answer = api.http.request(
                        method, url, content=b"\x80 QP \xff", headers={"content-type": kind, **headers}
                    )
                    declared = operations[method]["responses"]
                    assert str(answer.status_code) in declared, (method, path, answer.text)
                    assert answer.status_code < 500, (method, path, answer.text)
                    sent += 1
    assert sent > 30


def test_examples_of_predict_are_answered(api: RunningApi, schema: dict[str, Any]) -> None:
    body = schema["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        asked = example["value"] | ({"model": "toy"} if "model" in example["value"] else {})
        assert api.http.post("/v1/predict", json=asked).status_code == 200
    stream = schema["paths"]["/v1/predict/stream"]["post"]["requestBody"]["content"]["application/x-ndjson"]
    lines = api.http.post("/v1/predict/stream", content=stream["example"]).text.splitlines()
    assert ["label" in json.loads(line) for line in lines] == [True, True]
    tensors = schema["components"]["schemas"]["InferRequest"]["properties"]["inputs"]["examples"][0]
    assert api.http.post("/v2/models/toy/infer", json={"inputs": tensors}).status_code == 200


INFER = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}
CALLS = [
    ("POST", "/v1/predict", {"inputs": "a"}),
    ("POST", "/v1/predict", {"inputs": []}),
    ("POST", "/v1/predict", {"inputs": "a", "model": "nobody"}),
    ("POST", "/v1/predict", b"{"),
    ("POST", "/v1/predict", b"x" * 3_000_000),
    ("POST", "/v1/predict/stream", b'"a"'),
    ("POST", "/v1/predict/stream?version=9", b'"a"'),
    ("POST", "/v1/predict/stream?version=0", b'"a"'),
    ("POST", "/models/{model}", {"inputs": "a"}),
    ("POST", "/models/{model}", b"{"),
    ("POST", "/v2/models/{model}/infer", INFER),
    ("POST", "/v2/models/{model}/infer", b"{"),
    ("POST", "/v2/models/{model}/versions/{version}/infer", INFER),
    ("POST", "/v2/repository/index", None),
    ("POST", "/v2/repository/index", b"{"),
    ("POST", "/v1/feedback", {"prediction_id": "a:0", "label": "positive"}),
    ("POST", "/v1/feedback", b"{"),
    ("POST", "/v1/feedback", {}),
    ("GET", "/v1/models", None),
    ("GET", "/v1/drift/{model}", None),
    ("GET", "/v1/drift/{model}/reports", None),
    ("GET", "/v1/drift/{model}/reports/{report_id}", None),
    ("GET", "/v2", None),
    ("GET", "/v2/health/live", None),
    ("GET", "/v2/health/ready", None),
    ("GET", "/v2/models/{model}", None),
    ("GET", "/v2/models/{model}/ready", None),
    ("GET", "/v2/models/{model}/versions/{version}", None),
    ("GET", "/v2/models/{model}/versions/{version}/ready", None),
    ("GET", "/metrics", None),
    ("GET", "/admin/v1/models/{model}/versions", None),
    ("GET", "/admin/v1/models/{model}/versions/{version}", None),
    ("PUT", "/admin/v1/models/{model}/aliases/{alias}", {"version": 1}),
    ("PUT", "/admin/v1/models/{model}/aliases/{alias}", b"{"),
    ("POST", "/admin/v1/models/{model}/rollback", b"{"),
    ("POST", "/admin/v1/models/{model}/adapt", b"{"),
    ("GET", "/admin/v1/models/{model}/labels", None),
    ("POST", "/admin/v1/models/{model}/labels", {"label": "positive"}),
    ("POST", "/admin/v1/models/{model}/labels", b"{"),
    ("GET", "/admin/v1/jobs", None),
    ("GET", "/admin/v1/jobs/{job_id}", None),
    ("POST", "/admin/v1/jobs/{job_id}/cancel", None),
    ("POST", "/admin/v1/alerts", {"alerts": []}),
    ("POST", "/admin/v1/alerts", b"{"),
    ("GET", "/admin/v1/replicas", None),
    ("GET", "/admin/v1/events", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
@pytest.mark.parametrize("model", ["toy", "nobody", "\U0001f600" * 50])
def test_every_code_that_is_answered_is_declared(
    api: RunningApi, schema: dict[str, Any], method: str, path: str, body: Any, model: str
) -> None:
    url = path.format(
        model=model, version=model if "v2" in path else 1, alias="champion", report_id="x", job_id="x"
    )
    sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
    response = api.http.request(method, url, headers={"Content-Type": "application/json"}, **sent)
    declared = schema["paths"][path.partition("?")[0]][method.lower()]["responses"]
    assert str(response.status_code) in declared
    if response.status_code >= 400:
        assert set(response.json()) >= {"type", "title", "status", "detail", "request_id", "error"}
