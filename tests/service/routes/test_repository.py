"""What is loaded, and with its reason what is not."""

from __future__ import annotations

from tests.fixtures.deployment import Deployment, RunningApi, eventually

INDEX = "/v2/repository/index"


def test_loaded_versions_are_ready(api: RunningApi) -> None:
    for sent in ({}, {"json": {}}, {"json": {"ready": True}}):
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
        entries = eventually(
            lambda: [e for e in api.http.post(INDEX).json() if e["name"] == "other"], "the refusal"
        )
        api.wait_for(1)
        assert [(entry["state"], "DigestMismatch" in entry["reason"]) for entry in entries] == [
            ("UNAVAILABLE", True)
        ]
        assert [entry["name"] for entry in api.http.post(INDEX, json={"ready": True}).json()] == ["toy"]
        body = api.http.get("/v2/health/ready").json()
    assert body["reasons"] == ["model other: champion 1: DigestMismatch"]


def test_readiness_names_no_directory(toy: Deployment) -> None:
    toy.base_dir = toy.settings.home / "gone"
    toy.create_model()
    toy.add_version(1)
    with toy.running(ready=False) as api:
        eventually(lambda: api.http.post(INDEX).json(), "a first look")
        told = api.http.get("/v2/health/ready")
        assert (told.status_code, told.headers["Retry-After"]) == (503, "1")
        assert told.json()["reasons"] == ["model toy: champion 1: BaseModelMissing"]
        assert str(toy.base_dir) in api.http.post(INDEX).json()[0]["reason"]
