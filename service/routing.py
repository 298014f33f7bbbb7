"""What this replica serves: an immutable table that is replaced whole, by one assignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab.bundle import ModelBundle
from trimtab.errors import InvalidInput, ModelNotFound, NotReady, VersionNotLoaded

CHAMPION = "champion"
NO_CHAMPION = "it has no champion yet"


@dataclass(frozen=True, kw_only=True, eq=False)
class Route:
    """One model: which versions are loaded, and which of them answers by default."""

    model: str
    generation: int
    # Alias -> version, loaded ones only; `champion` is always among them.
    aliases: Mapping[str, int]
    # By version.
    bundles: Mapping[int, ModelBundle]
    # Version -> why this replica does not serve it.
    refused: Mapping[int, str] = field(default_factory=dict)

    @property
    def content(self) -> tuple[int, Mapping[str, int], Mapping[int, str], Mapping[int, str]]:
        """What two routes of one model may differ in; bundles are told apart by their digest."""
        digests = {n: bundle.digest for n, bundle in self.bundles.items()}
        return self.generation, self.aliases, digests, self.refused

    @property
    def champion(self) -> ModelBundle:
        return self.bundles[self.aliases[CHAMPION]]

    def pick(self, version: int | str | None) -> ModelBundle:
        """The bundle of a version number or alias; the champion for None. Raises VersionNotLoaded."""
        if version is None:
            return self.champion
        number = self.aliases.get(version) if isinstance(version, str) else version
        bundle = self.bundles.get(number) if number is not None else None
        if bundle is None:
            raise VersionNotLoaded(
                f"version {version} of {self.model} is not loaded; loaded are {self._loaded()}"
            )
        return bundle

    def _loaded(self) -> str:
        names = {n: sorted(a for a, v in self.aliases.items() if v == n) for n in sorted(self.bundles)}
        return ", ".join(f"{n} ({', '.join(aliases)})" for n, aliases in names.items())


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutingTable:
    """Every model that is served, and why the others are not."""

    routes: Mapping[str, Route] = field(default_factory=dict)
    # Model -> why it is not served.
    waiting: Mapping[str, str] = field(default_factory=dict)
    # Why nothing can be said yet; empty once the ledger was read.
    starting: str = "starting"

    def route(self, model: str | None) -> Route:
        """The route of a model; of the only one for None. Raises ModelNotFound, NotReady, InvalidInput."""
        name = model if model is not None else self._only()
        route = self.routes.get(name)
        if route is not None:
            return route
        if name in self.waiting:
            raise NotReady(f"model {name} is not served yet: {without_details(self.waiting[name])}")
        if self.starting:
            raise NotReady(self.starting)
        raise ModelNotFound(
            f"there is no model {name!r}; served are: {', '.join(sorted(self.routes)) or 'none'}"
        )

    def reasons(self) -> tuple[str, ...]:
        """Why this replica is not ready, as anybody may know it; empty when it is."""
        if self.starting:
            return (self.starting,)
        waiting = {
            name: reason
            for name, reason in sorted(self.waiting.items())
            # A model that is still being made does not concern those that are served.
            if not (self.routes and reason == NO_CHAMPION)
        }
        reasons = [f"model {name}: {without_details(reason)}" for name, reason in waiting.items()]
        if not self.routes and not reasons:
            reasons = ["there is no model yet: create one with `trimtab init`"]
        return tuple(reasons)

    def _only(self) -> str:
        names = sorted({*self.routes, *self.waiting})
        if not names or self.starting:
            raise NotReady("; ".join(self.reasons()))
        if len(names) > 1:
            raise InvalidInput(f"name a model, there are several: {', '.join(names)}")
        return names[0]


def without_details(reason: str) -> str:
    """Which version is missing and the kind of error: its text may name directories, and is for operators.

    They find the whole reason in POST /v2/repository/index, GET /admin/v1/replicas and the log.
    """
    what, _, why = reason.partition(": ")
    kind = why.partition(": ")[0]
    return f"{what}: {kind if kind.isidentifier() else 'not loaded'}" if why else reason


class Routing:
    """The one mutable place: `table` is read by every request and assigned by the follower alone."""

    def __init__(self) -> None:
        self.table = RoutingTable()
