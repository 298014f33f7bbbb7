"""GET /v1/traffic and /v1/whoami."""

from __future__ import annotations

import time

from tests.fixtures.deployment import Deployment, RunningApi, eventually
from tests.fixtures.ledgers import block, sample
from trimtab.ledger import samples
from trimtab.settings import AuthSettings


def test_traffic_is_counted_by_step_and_version(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    minute = time.time() // 60 * 60
    rows = [sample(i, model="toy", version=1 + i % 2, observed_at=minute - 120 + i % 3) for i in range(12)]
    rows += [
        sample(99, model="toy", observed_at=minute - 7200),
        sample(98, model="other", observed_at=minute),
    ]
    with toy.ledger.begin() as tx:
        samples.ingest(tx, [block("b", rows)])
    with toy.running() as api:
        found = api.http.get("/v1/traffic/toy").json()
        assert (found["width_s"], found["rate"]) == (60.0, 1.0)
        assert found["steps"] == [{"at": minute - 120, "version": n, "n": 6} for n in (1, 2)]
        wide = api.http.get("/v1/traffic/toy", params={"minutes": 1440}).json()["steps"]
        assert sum(step["n"] for step in wide) == 13
        assert api.http.get("/v1/traffic/nobody").status_code == 404
        assert api.http.get("/v1/traffic/toy", params={"minutes": 0}).status_code == 422


def test_without_keys_everybody_may_do_everything(api: RunningApi) -> None:
    assert api.http.get("/v1/whoami").json() == {
        "auth": "off",
        "name": "anonymous",
        "roles": ["feedback", "operate", "predict", "read"],
    }


def test_a_key_says_what_it_is_good_for(toy: Deployment) -> None:
    toy.settings = toy.settings.model_copy(update={"auth": AuthSettings(mode="keys")})
    with toy.running(ready=False) as api:
        nobody: dict[str, object] = {"auth": "keys", "name": None, "roles": []}
        assert api.http.get("/v1/whoami").json() == nobody
        assert api.http.get("/v1/whoami", headers={"X-API-Key": "wrong"}).json() == nobody
        headers = {"X-API-Key": toy.add_key("ada", "read", "feedback")}
        known = eventually(lambda: _named(api, headers), "the key")
        assert known == {"auth": "keys", "name": "ada", "roles": ["feedback", "read"]}


def _named(api: RunningApi, headers: dict[str, str]) -> dict[str, object] | None:
    found: dict[str, object] = api.http.get("/v1/whoami", headers=headers).json()
    return found if found["name"] else None
