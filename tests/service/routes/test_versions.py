"""Versions and aliases over HTTP: decisions name the generation that they were made on."""

from __future__ import annotations

import pytest
import redis

from service.hints import CHANNEL
from tests.fixtures.deployment import Deployment, RunningApi, eventually
from trimtab.ledger import versions
from trimtab.ledger.versions import VersionState
from trimtab.trial import Stage

MODEL = "/admin/v1/models/toy"


@pytest.fixture
def three(toy: Deployment) -> Deployment:
    """Version 2 is champion, 1 previous, 3 waits; generation 2."""
    toy.create_model()
    toy.add_version(1)
    toy.add_version(2)
    toy.add_version(3, promote=False)
    return toy


def test_versions_say_why_they_exist(three: Deployment) -> None:
    with three.running() as api:
        response = api.http.get(f"{MODEL}/versions")
        body = response.json()
        assert response.headers["ETag"] == '"2"'
        assert (body["generation"], body["aliases"]) == (2, {"champion": 2, "previous": 1})
        assert {v["version"]: v["aliases"] for v in body["versions"]} == {
            1: ["previous"],
            2: ["champion"],
            3: [],
        }
        one = api.http.get(f"{MODEL}/versions/2").json()
        assert (one["state"], one["manifest"]["version"], one["gate"]) == ("accepted", 2, {"checks": []})
        assert api.http.get(f"{MODEL}/versions/9").json()["type"].endswith("version-not-found")
        assert api.http.get("/admin/v1/models/no/versions").json()["type"].endswith("model-not-found")


def test_an_alias_moves_only_on_the_generation_that_was_seen(three: Deployment) -> None:
    with three.running() as api:
        url, order = f"{MODEL}/aliases/champion", {"version": 3, "reason": "by hand"}
        missing = api.http.put(url, json=order)
        assert (missing.status_code, missing.json()["type"]) == (
            428,
            "urn:trimtab:problem:precondition-required",
        )
        stale = api.http.put(url, json=order, headers={"If-Match": '"1"'})
        assert (stale.status_code, stale.json()["type"]) == (412, "urn:trimtab:problem:generation-mismatch")
        for nonsense in ("*", "x", '"-1"', "1.5", ""):
            assert api.http.put(url, json=order, headers={"If-Match": nonsense}).status_code == 400
        done = api.http.put(url, json=order, headers={"If-Match": '"2"'})
        assert done.json() == {"model": "toy", "generation": 3, "aliases": {"champion": 3, "previous": 2}}
        api.wait_for(3)
        events = api.http.get("/admin/v1/events", params={"model": "toy"}).json()["events"]
        assert (events[-1]["kind"], events[-1]["actor"], events[-1]["detail"]["reason"]) == (
            "promoted",
            "anonymous",
            "by hand",
        )


def test_a_trial_is_shown_while_it_goes_on_and_afterwards(three: Deployment) -> None:
    trial = three.try_version(4, share=0.25)
    with three.running() as api:
        listed = api.http.get(f"{MODEL}/versions").json()
        shown = listed["trial"]
        assert (shown["version"], shown["champion"], shown["stage"], shown["share"]) == (4, 2, "canary", 0.25)
        assert shown["meaning"] == Stage.CANARY.meaning
        assert (shown["ended_at"], listed["aliases"]["challenger"]) == (None, 4)
        assert [v["trial"] for v in listed["versions"]] == [None] * 4
        assert api.http.get(f"{MODEL}/versions/4").json()["trial"] == shown
        assert api.http.get("/v1/models").json()["models"][0]["challenger"] == 4
        three.end(trial, Stage.REJECTED)
        assert api.http.get(f"{MODEL}/versions").json()["trial"] is None
        ended = api.http.get(f"{MODEL}/versions/4").json()["trial"]
        assert (ended["stage"], ended["share"], ended["ended_at"] >= shown["stage_at"]) == (
            "rejected",
            0,
            True,
        )
        assert api.http.get(f"{MODEL}/versions/3").json()["trial"] is None


def test_a_challenger_is_loaded_and_can_be_asked(three: Deployment) -> None:
    with three.running() as api:
        order = {"version": 3}
        assert (
            api.http.put(f"{MODEL}/aliases/challenger", json=order, headers={"If-Match": "2"}).status_code
            == 200
        )
        eventually(lambda: api.predict("a", version="challenger").status_code == 200, "the challenger")
        assert api.predict("a").json()["model_version"] == 2


@pytest.mark.parametrize(
    ("alias", "order", "status"),
    [
        ("latest", {"version": 3}, 422),
        ("champion", {"version": 9}, 404),
        ("champion", {"version": 0}, 422),
        ("champion", {"version": 3, "digest": "x"}, 422),
        ("champion", {}, 422),
    ],
)
def test_wrong_orders(api: RunningApi, alias: str, order: dict[str, object], status: int) -> None:
    response = api.http.put(f"{MODEL}/aliases/{alias}", json=order, headers={"If-Match": '"2"'})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_a_rejected_version_needs_force(three: Deployment) -> None:
    with three.ledger.begin() as tx:
        versions.record_version(
            tx, "toy", 4, "4" * 64, 3, VersionState.REJECTED, manifest={}, reason="forgets"
        )
    with three.running() as api:
        headers = {"If-Match": '"2"'}
        refused = api.http.put(f"{MODEL}/aliases/challenger", json={"version": 4}, headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:trimtab:problem:version-refused")
        assert "forgets" in refused.json()["detail"]
        forced = {"version": 4, "force": True}
        assert api.http.put(f"{MODEL}/aliases/challenger", json=forced, headers=headers).status_code == 200


def test_a_rollback_may_name_its_target_and_its_generation(three: Deployment) -> None:
    three.promote(3)
    with three.running() as api:
        assert api.http.post(f"{MODEL}/rollback", headers={"If-Match": '"1"'}).status_code == 412
        done = api.http.post(
            f"{MODEL}/rollback", json={"to": 1, "reason": "far back"}, headers={"If-Match": '"3"'}
        )
        assert done.json()["aliases"] == {"champion": 1}
        api.wait_for(1)
        listed = {v["version"]: v for v in api.http.get(f"{MODEL}/versions").json()["versions"]}
        assert (listed[3]["state"], listed[3]["reason"]) == ("rolled_back", "far back")
        assert api.http.post(f"{MODEL}/rollback", json={"tο": 1}).status_code == 422


def test_a_change_is_hinted_to_the_other_replicas(three: Deployment, redis_client: redis.Redis) -> None:
    def listeners() -> int:
        return int(redis_client.pubsub_numsub(CHANNEL)[0][1])

    before = listeners()
    with three.running(poll_s=3600.0) as there, three.running(poll_s=3600.0) as here:
        eventually(lambda: listeners() == before + 2, "both listeners")
        here.http.post(f"{MODEL}/rollback")
        here.wait_for(1)
        there.wait_for(1)  # long before it would look by itself


def test_a_model_is_held_and_released(three: Deployment) -> None:
    with three.running() as api:
        url = f"{MODEL}/aliases/pinned"
        held = api.http.put(url, json={"version": 2}, headers={"If-Match": '"2"'}).json()
        assert held["aliases"] == {"champion": 2, "previous": 1, "pinned": 2}
        released = api.http.delete(url, params={"reason": "looked at"}).json()
        assert released["aliases"] == {"champion": 2, "previous": 1}
        newest = api.http.get("/admin/v1/events", params={"order": "newest", "limit": 1}).json()["events"][0]
        assert (newest["kind"], newest["detail"]["reason"]) == ("alias_dropped", "looked at")
        assert api.http.delete(url).json()["type"] == "urn:trimtab:problem:alias-not-found"
        refused = api.http.delete(f"{MODEL}/aliases/champion")
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:trimtab:problem:version-refused")
