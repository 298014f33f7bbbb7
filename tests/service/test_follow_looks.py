"""What one look at the ledger does, and in which order: nothing that serves waits for what is built."""

from __future__ import annotations

import time
from typing import Any

import pytest

from service.auth import Keyring
from service.follow import Follower, Replica
from service.routing import Routing
from service.shadow import Shadow
from service.swap import Failure, Loader
from tests.fixtures.deployment import Deployment
from trimtab.adapter import load_public_key
from trimtab.bundle import ModelBundle
from trimtab.ledger import versions
from trimtab.ledger.models import ModelRow
from trimtab.ledger.versions import Served
from trimtab.settings import ServerSettings


def follower_of(toy: Deployment, routing: Routing, **server: Any) -> Follower:
    """A follower that looks when it is told to."""
    key, settings = load_public_key(toy.settings.public_key_path), ServerSettings(**server)
    loader = Loader(toy.store, key, device="cpu", server=settings)
    me, shadow = Replica("test", 1, "http://test"), Shadow(routing, lambda: True)
    return Follower(
        toy.ledger, loader, routing, Keyring("off"), shadow, replica=me, poll_s=1, drain_s=settings.drain_s
    )


def test_a_rollback_waits_for_no_build(toy: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its own model's nor another's: what is loaded is served before anything is loaded."""
    for name in ("toy", "alpha"):  # the other one is looked at first
        toy.create_model(name)
        for n in (1, 2):
            toy.add_version(n, model=name)
    routing = Routing()
    follower = follower_of(toy, routing)
    follower.look()
    served: list[int] = []
    loader = follower._loader
    load = loader.load

    def watched(model: ModelRow, version: Served) -> ModelBundle | Failure:
        served.append(routing.table.routes["toy"].champion.version)
        return load(model, version)

    monkeypatch.setattr(loader, "load", watched)
    toy.add_version(3, model="alpha")
    with toy.ledger.begin() as tx:
        versions.rollback(tx, "toy", actor="test", reason="worse")
    follower.look()
    assert served == [1]
    assert routing.table.routes["alpha"].champion.version == 3


def test_a_champion_is_given_the_room_of_the_least_important(
    toy: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.create_model()
    for n in (1, 2, 3):
        toy.add_version(n)
    with toy.ledger.begin() as tx:
        versions.set_alias(tx, "toy", "baseline", 1, actor="test", reason="")
    routing = Routing()
    follower_of(toy, routing).look()
    one = routing.table.routes["toy"].champion.own_bytes
    follower = follower_of(toy, routing := Routing(), max_variants_bytes=3 * one)
    follower.look()
    assert sorted(routing.table.routes["toy"].bundles) == [1, 2, 3]
    toy.add_version(4)
    with toy.ledger.begin() as tx:
        versions.set_alias(tx, "toy", "pinned", 2, actor="test", reason="")
    follower.look()
    route = routing.table.routes["toy"]
    assert (route.champion.version, sorted(route.bundles)) == (3, [1, 3])  # `pinned` went, 4 is tried again
    assert "InsufficientMemory" in route.refused[4]
    del route
    follower.look()
    assert sorted(routing.table.routes["toy"].bundles) == [1, 3]  # nothing more goes, nothing takes the room
    later = time.monotonic() + 10
    monkeypatch.setattr("service.swap.time.monotonic", lambda: later)
    follower.look()
    route = routing.table.routes["toy"]
    assert (route.champion.version, sorted(route.bundles)) == (4, [1, 3, 4])
    assert set(route.refused) == {2}


def test_while_the_champion_cannot_be_had_the_others_follow(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    routing = Routing()
    follower = follower_of(toy, routing)
    follower.look()
    toy.files_of(toy.add_version(2)).rename(toy.settings.home / "hidden")
    toy.add_version(3, promote=False)
    with toy.ledger.begin() as tx:
        versions.set_alias(tx, "toy", "challenger", 3, actor="test", reason="")
    follower.look()
    route = routing.table.routes["toy"]
    assert dict(route.aliases) == {"champion": 1, "previous": 1, "challenger": 3}
    assert (route.generation, set(route.refused)) == (1, {2})
    kept = route.bundles[3]
    follower.look()
    assert routing.table.routes["toy"].bundles[3] is kept  # not built again at every look
