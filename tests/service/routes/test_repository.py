"""What is loaded, and with its reason what is not."""

from __future__ import annotations

from typing import Any

from tests.fixtures.deployment import Deployment, RunningApi, eventually

INDEX = "/v2/repository/index"


def reason_of(api: RunningApi, model: str) -> str:
    """Why the last version of a model is not served here; empty when it is."""
    reasons = [entry["reason"] for entry in api.http.post(INDEX).json() if entry["name"] == model]
    return str(reasons[-1]) if reasons else ""


def test_loaded_versions_are_ready(api: RunningApi) -> None:
    orders: tuple[dict[str, Any], ...] = ({}, {"json": {}}, {"json": {"ready": True}})
    for sent in orders:
        assert api.http.post(INDEX, **sent).json() == [
            {"name": "toy", "version": n, "state": "READY", "reason": ""} for n in ("1", "2")
        ]


def test_what_was_refused_says_why_and_readiness_only_the_kind(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    toy.create_model("other")
    digest = toy.add_version(1, model="other", promote=False)
    (toy.files_of(digest) / "head.safetensors").write_bytes(b"broken")
    toy.promote(1, "other")
    with toy.running(ready=False) as api:
        api.wait_for(1)
        eventually(lambda: "DigestMismatch" in reason_of(api, "other"), "the refusal")
        assert [entry["name"] for entry in api.http.post(INDEX, json={"ready": True}).json()] == ["toy"]
        body = api.http.get("/v2/health/ready").json()
    assert body["reasons"] == ["model other: champion 1: DigestMismatch"]


def test_readiness_names_no_directory(toy: Deployment) -> None:
    toy.base_dir = toy.settings.home / "gone"
    toy.create_model()
    toy.add_version(1)
    with toy.running(ready=False) as api:
        eventually(lambda: str(toy.base_dir) in reason_of(api, "toy"), "the refusal")
        told = api.http.get("/v2/health/ready")
        assert (told.status_code, told.headers["Retry-After"]) == (503, "1")
        assert told.json()["reasons"] == ["model toy: champion 1: BaseModelMissing"]
