"""What follows from the ledger's wishes and from what could be loaded."""

from __future__ import annotations

from typing import Any, cast

import pytest

from service.routing import Route
from service.wanted import Wanted, at_hand, least_important, route_of, wanted_of, why_not, with_incumbent
from trimtab.bundle import ModelBundle
from trimtab.ledger.models import ModelRow
from trimtab.ledger.versions import Served, VersionState


class Loaded:
    """As much of a bundle as routes look at."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.digest = str(version)


def bundles(*numbers: int) -> dict[int, ModelBundle]:
    return {n: cast(ModelBundle, Loaded(n)) for n in numbers}


def wanted(*, quarantined: tuple[int, ...] = (), digest: str | None = None, **aliases: int) -> Wanted:
    model = ModelRow(
        name="toy", labels=("a", "b"), base="base", base_digest="0" * 64, generation=7, created_at=0.0
    )
    states = {
        n: VersionState.QUARANTINED if n in quarantined else VersionState.ACCEPTED for n in aliases.values()
    }
    served = {
        alias: Served(model="toy", n=n, digest=digest or str(n), state=states[n], reason="because")
        for alias, n in aliases.items()
    }
    return wanted_of(model, served)


def test_the_champion_comes_first_then_what_a_rollback_needs() -> None:
    assert list(wanted(baseline=1, pinned=2, previous=3, champion=4).versions) == [4, 3, 1, 2]
    assert list(wanted(baseline=4, champion=4, previous=4).versions) == [4]


@pytest.mark.parametrize(
    ("more", "found"), [({}, [1, 2]), ({"quarantined": (2,)}, [1]), ({"digest": "other"}, [])]
)
def test_only_what_is_the_same_and_sound_is_at_hand(more: dict[str, Any], found: list[int]) -> None:
    route = route_of(wanted(champion=1), bundles(1, 2, 9), {})
    assert sorted(at_hand(wanted(champion=1, previous=2, challenger=3, **more), route)) == found
    assert at_hand(wanted(champion=1), None) == {}


def test_a_route_names_loaded_versions_only() -> None:
    route = route_of(wanted(champion=2, previous=1, challenger=3), bundles(1, 2), {3: "why"})
    assert (route.generation, dict(route.aliases), dict(route.refused)) == (
        7,
        {"champion": 2, "previous": 1},
        {3: "why"},
    )


def test_without_the_wanted_champion_the_incumbent_stays_of_its_own_generation() -> None:
    incumbent = Route(model="toy", generation=6, aliases={"champion": 1}, bundles=bundles(1))
    route = with_incumbent(wanted(champion=3, previous=1, challenger=2), bundles(2), {3: "why"}, incumbent)
    assert route.champion is incumbent.champion
    assert (route.generation, sorted(route.bundles)) == (6, [1, 2])
    assert dict(route.aliases) == {"champion": 1, "challenger": 2}


@pytest.mark.parametrize(("loaded", "spare"), [((1, 2, 3), 2), ((1, 3), 1), ((3,), None), ((3, 4), None)])
def test_the_least_important_neither_serves_nor_shall(loaded: tuple[int, ...], spare: int | None) -> None:
    wishes = wanted(champion=4, previous=3, baseline=1, pinned=2)
    assert least_important(wishes, bundles(*loaded), serving=3) == spare


def test_why_a_model_is_not_served() -> None:
    assert "no champion" in why_not(wanted(challenger=1), {})
    assert why_not(wanted(champion=1), {}) == "champion 1: not loaded"
    assert (
        why_not(wanted(champion=1, quarantined=(1,)), wanted(champion=1, quarantined=(1,)).quarantined)
        == "champion 1: because"
    )
