"""The outermost layers: ids, limits, and errors of one shape whatever goes wrong."""

from __future__ import annotations

import gzip
import logging
import socket

import httpx
import pytest
from prometheus_client import REGISTRY

from tests.fixtures.deployment import Deployment, RunningApi


def test_a_sound_request_id_comes_back_and_others_are_replaced(api: RunningApi) -> None:
    assert api.http.get("/v2", headers={"X-Request-Id": "abc.1-2_3"}).headers["X-Request-Id"] == "abc.1-2_3"
    for bad in ("a:b", "x" * 65, "a b", ""):
        given = api.http.get("/v2", headers={"X-Request-Id": bad}).headers["X-Request-Id"]
        assert given != bad
        assert len(given) == 32


def test_a_request_id_that_is_used_twice_names_no_prediction(api: RunningApi) -> None:
    headers = {"X-Request-Id": "again"}
    answers = [api.http.post("/v1/predict", json={"inputs": "a"}, headers=headers) for _ in range(2)]
    assert [answer.headers["X-Request-Id"] for answer in answers] == ["again", "again"]
    ids = {answer.headers["X-Prediction-Id"] for answer in answers}
    assert len(ids) == 2
    assert ids == {answer.json()["id"] for answer in answers}


def phases(response: httpx.Response) -> dict[str, float]:
    """The Server-Timing header, in milliseconds."""
    parts = [part.split(";dur=") for part in response.headers["Server-Timing"].split(", ")]
    return {name: float(duration) for name, duration in parts}


def test_every_answer_says_how_long_it_took(api: RunningApi) -> None:
    assert set(phases(api.http.get("/v2"))) == {"total"}
    timing = phases(api.predict("a good film"))
    assert set(timing) == {"tokenize", "queue", "inference", "total"}
    assert 0 < timing["inference"] < timing["total"]
    assert sum(timing.values()) - timing["total"] <= timing["total"] + 0.05  # parts and rounding
    assert set(phases(api.predict([]))) == {"total"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.8.8.8"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:8000"}, 421),
        ({"Host": "localhost.evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
        ({"Host": "localhost:8000", "Origin": "http://localhost:9000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_without_keys_no_foreign_page_gets_through(
    api: RunningApi, headers: dict[str, str], status: int
) -> None:
    assert api.http.get("/v2", headers=headers).status_code == status
    rollback = api.http.post("/admin/v1/models/nobody/rollback", headers=headers)
    assert (rollback.status_code == 404) == (status == 200)


def test_named_hosts_are_answered_and_probes_always(shared_toy: Deployment) -> None:
    with shared_toy.running(hosts="api.example, 127.0.0.1") as api:
        statuses = [
            api.http.get(path, headers={"Host": host}).status_code
            for path in ("/v2", "/v2/health/live")
            for host in ("api.example:8000", "localhost", "10.1.2.3:8000")
        ]
    assert statuses == [200, 421, 421, 200, 200, 200]


def test_cors_is_off(api: RunningApi) -> None:
    asked = {"Origin": api.url, "Access-Control-Request-Method": "POST"}
    for response in (api.http.options("/v1/predict", headers=asked), api.http.get("/v2", headers=asked)):
        assert not [name for name in response.headers if name.startswith("access-control")]
    assert api.http.options("/v1/predict", headers=asked).status_code == 405


@pytest.mark.parametrize(
    "path", ["/v1/drift/%00", "/v2/models/a%0Ab", "/admin/v1/models/%1B/versions", "/%7F"]
)
def test_a_path_that_is_no_text_leads_nowhere(api: RunningApi, path: str) -> None:
    assert api.http.get(path).status_code == 404


def test_compressed_bodies_are_refused_before_they_are_read(api: RunningApi) -> None:
    packed = gzip.compress(b'{"inputs": "a"}')
    response = api.http.post("/v1/predict", content=packed, headers={"Content-Encoding": "gzip"})
    assert (response.status_code, response.json()["type"]) == (
        415, "urn:trimtab:problem:unsupported-media-type",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/predict", 405),
        ("POST", "/v2/health/live", 405),
        ("GET", "/v1/models/", 404),
        ("GET", "//v1/models", 404),
        ("DELETE", "/admin/v1/jobs", 405),
    ],
)
def test_errors_of_http_itself_have_the_same_shape(
    api: RunningApi, method: str, path: str, status: int
) -> None:
    response = api.http.request(method, path)
    body = response.json()
    assert response.status_code == status == body["status"]
    assert response.headers["content-type"] == "application/problem+json"
    assert set(body) == {"type", "title", "status", "detail", "request_id", "error"}
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert body["error"] == f"{body['title']}: {body['detail']}"


def test_a_long_body_is_refused_by_its_announced_length(shared_toy: Deployment) -> None:
    with shared_toy.running(max_body_bytes=1000) as api:
        response = api.predict("a" * 2000)
    assert (response.status_code, response.json()["type"]) == (413, "urn:trimtab:problem:body-too-large")


def test_a_long_body_is_refused_while_it_streams(shared_toy: Deployment) -> None:
    with shared_toy.running(max_body_bytes=1000) as api:
        chunks = iter([b'{"inputs": "', *[b"a" * 100] * 50, b'"}'])
        response = api.http.post("/v1/predict", content=chunks, headers={"Content-Type": "application/json"})
        assert response.status_code == 413
        exactly = b'{"inputs": "' + b"a" * (1000 - 14) + b'"}'
        headers = {"Content-Type": "application/json"}
        assert api.http.post("/v1/predict", content=iter([exactly]), headers=headers).status_code == 200


def test_what_nobody_foresaw_shows_its_id_and_no_text(
    shared_toy: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    with shared_toy.running() as api:

        async def broken() -> None:
            raise RuntimeError("secret of the house")

        api.app.add_api_route("/v2/broken", broken)
        response = api.http.get("/v2/broken")
        assert api.http.get("/v2/health/live").status_code == 200
    assert response.status_code == 500
    assert response.json()["type"] == "urn:trimtab:problem:internal"
    assert "secret" not in response.text
    assert response.headers["X-Request-Id"] == response.json()["request_id"]
    assert any(record.exc_info for record in caplog.records)


def test_calls_are_counted_by_route_and_logged_without_payload(
    api: RunningApi, caplog: pytest.LogCaptureFixture
) -> None:
    labels = {"route": "/v1/predict", "code": "200"}
    before = REGISTRY.get_sample_value("trimtab_requests_total", labels) or 0.0
    with caplog.at_level(logging.INFO, logger="service.access"):
        answer = api.predict({"text": "unspeakable words", "id": "unspeakable id"}).json()
        api.http.get("/unheard/of")
    assert REGISTRY.get_sample_value("trimtab_requests_total", labels) == before + 1
    assert REGISTRY.get_sample_value("trimtab_requests_total", {"route": "_unknown", "code": "404"})
    assert (
        REGISTRY.get_sample_value("trimtab_requests_total", {"route": "/unheard/of", "code": "404"}) is None
    )
    line = next(record for record in caplog.records if "/v1/predict" in record.getMessage())
    assert vars(line)["client"] == "anonymous"
    assert vars(line)["prediction_id"] == answer["id"]
    assert "unspeakable" not in caplog.text


def test_a_client_that_hangs_up_while_sending_hurts_nobody(api: RunningApi) -> None:
    url = httpx.URL(api.url)
    with socket.create_connection((url.host, url.port or 0)) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
    assert api.predict("a").status_code == 200
