"""The routing table: whole, immutable, and clear about what it lacks."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from service.routing import NO_CHAMPION, Routing, RoutingTable, without_details
from tests.fixtures.deployment import RunningApi
from trimtab.errors import InvalidInput, ModelNotFound, NotReady, VersionNotLoaded


def test_at_the_start_nothing_is_known() -> None:
    table = Routing().table
    assert table.reasons() == ("starting",)
    for model in (None, "toy"):
        with pytest.raises(NotReady):
            table.route(model)


def test_without_models_it_says_how_to_make_one() -> None:
    table = RoutingTable(starting="")
    assert "trimtab init" in table.reasons()[0]
    with pytest.raises(NotReady, match="trimtab init"):
        table.route(None)
    with pytest.raises(ModelNotFound, match="served are: none"):
        table.route("toy")


def test_a_model_that_waits_has_its_reason() -> None:
    table = RoutingTable(starting="", waiting={"toy": "champion 1: DigestMismatch"})
    assert table.reasons() == ("model toy: champion 1: DigestMismatch",)
    with pytest.raises(NotReady, match="DigestMismatch"):
        table.route("toy")


def test_a_table_cannot_be_changed(api: RunningApi) -> None:
    table = api.serving.routing.table
    with pytest.raises(FrozenInstanceError):
        table.routes = {}  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        table.routes["toy"].generation = 3  # type: ignore[misc]


def test_versions_are_picked_by_number_or_alias(api: RunningApi) -> None:
    route = api.serving.routing.table.route("toy")
    assert [route.pick(v).version for v in (None, 1, 2, "champion", "previous")] == [2, 1, 2, 2, 1]
    for missing in (3, 0, "baseline", "2"):
        with pytest.raises(VersionNotLoaded, match=r"1 \(previous\), 2 \(champion\)"):
            route.pick(missing)


def test_a_model_in_the_making_does_not_concern_those_that_serve(api: RunningApi) -> None:
    routes = api.serving.routing.table.routes
    table = RoutingTable(routes=routes, starting="", waiting={"new": NO_CHAMPION})
    assert table.reasons() == ()
    with pytest.raises(InvalidInput, match="new, toy"):
        table.route(None)
    broken = RoutingTable(routes=routes, starting="", waiting={"new": "champion 1: DigestMismatch"})
    assert broken.reasons() == ("model new: champion 1: DigestMismatch",)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (NO_CHAMPION, NO_CHAMPION),
        ("champion 3: BaseModelMissing: base model /srv/m: no such directory", "champion 3: BaseModelMissing"),
        ("champion 3: DigestMismatch", "champion 3: DigestMismatch"),
        ("champion 3: drifted, see /home/ann/notes", "champion 3: not loaded"),
        ("champion 3: not loaded", "champion 3: not loaded"),
    ],
)  # fmt: skip
def test_what_anybody_may_know_names_no_directory(reason: str, told: str) -> None:
    assert without_details(reason) == told
    table = RoutingTable(starting="", waiting={"toy": reason})
    assert table.reasons() == (f"model toy: {told}",)
    with pytest.raises(NotReady) as caught:
        table.route("toy")
    assert str(caught.value) == f"model toy is not served yet: {told}"
