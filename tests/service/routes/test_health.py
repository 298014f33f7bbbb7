"""Open Inference Protocol metadata and health."""

from __future__ import annotations

import pytest

from tests.fixtures.deployment import RunningApi


def test_server_metadata(api: RunningApi) -> None:
    for path in ("/v2", "/v2/"):
        assert api.http.get(path).json()["name"] == "trimtab"


def test_model_metadata(api: RunningApi) -> None:
    body = api.http.get("/v2/models/toy").json()
    assert (body["name"], body["versions"]) == ("toy", ["1", "2"])
    assert body["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert body["outputs"][1] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}
    assert api.http.get("/v2/models/toy/versions/previous").status_code == 200


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("ready", "2"),
        ("versions/1/ready", "1"),
        ("versions/champion/ready", "2"),
        ("versions/previous/ready", "1"),
    ],
)
def test_a_version_is_ready_by_number_or_alias(api: RunningApi, path: str, version: str) -> None:
    assert api.http.get(f"/v2/models/toy/{path}").json() == {"name": "toy", "ready": True, "version": version}


@pytest.mark.parametrize("version", ["3", "challenger", "²", "99999999999999999999"])
def test_what_is_not_loaded_is_not_ready(api: RunningApi, version: str) -> None:
    response = api.http.get(f"/v2/models/toy/versions/{version}/ready")
    assert (response.status_code, response.json()["type"]) == (404, "urn:trimtab:problem:version-not-loaded")


def test_ready_says_so(api: RunningApi) -> None:
    assert api.http.get("/v2/health/ready").json() == {"live": True, "ready": True, "reasons": []}
