"""What the ledger wants to be served of a model, and the routes that follow from what can be had. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.routing import CHAMPION, NO_CHAMPION, Route
from trimtab.bundle import ModelBundle
from trimtab.ledger.models import ModelRow
from trimtab.ledger.versions import PREVIOUS, Served, VersionState
from trimtab.trial import Trial


@dataclass(frozen=True)
class Wanted:
    """What the ledger wants of one model."""

    model: ModelRow
    # Alias -> version.
    aliases: Mapping[str, int]
    # The aliased versions by number, the most important first.
    versions: Mapping[int, Served]
    # The open one.
    trial: Trial | None = None

    @property
    def champion(self) -> int | None:
        return self.aliases.get(CHAMPION)

    @property
    def quarantined(self) -> dict[int, str]:
        """{version: reason}"""
        found = {n: v for n, v in self.versions.items() if v.state is VersionState.QUARANTINED}
        return {n: version.reason or "quarantined" for n, version in found.items()}


def wanted_of(model: ModelRow, served: Mapping[str, Served], trial: Trial | None = None) -> Wanted:
    """By importance: the champion, what a rollback needs, then the others by name of their alias."""
    order = sorted(served, key=lambda alias: (alias != CHAMPION, alias != PREVIOUS, alias))
    by_number = {served[alias].n: served[alias] for alias in order}
    return Wanted(model, {alias: version.n for alias, version in served.items()}, by_number, trial)


def at_hand(wanted: Wanted, route: Route | None) -> dict[int, ModelBundle]:
    """The wanted versions that are loaded and may serve."""
    loaded = route.bundles if route else {}
    return {
        n: loaded[n]
        for n, version in wanted.versions.items()
        if n in loaded and loaded[n].digest == version.digest and n not in wanted.quarantined
    }


def route_of(wanted: Wanted, bundles: Mapping[int, ModelBundle], refused: Mapping[int, str]) -> Route:
    """The route of a model whose champion is among the bundles."""
    return Route(
        model=wanted.model.name,
        generation=wanted.model.generation,
        aliases={alias: n for alias, n in wanted.aliases.items() if n in bundles},
        bundles=dict(bundles),
        refused=refused,
        trial=wanted.trial,
    )


def with_incumbent(
    wanted: Wanted, bundles: Mapping[int, ModelBundle], refused: Mapping[int, str], incumbent: Route
) -> Route:
    """What is served while the wanted champion cannot be: the incumbent stays champion, of its own generation."""
    route, champion = route_of(wanted, bundles, refused), incumbent.champion
    return replace(
        route,
        generation=incumbent.generation,
        aliases={**route.aliases, CHAMPION: champion.version},
        bundles={**bundles, champion.version: champion},
    )


def least_important(wanted: Wanted, bundles: Mapping[int, ModelBundle], serving: int) -> int | None:
    """The loaded version that is missed least, of those that do not serve; None if there is none."""
    spare = [n for n in wanted.versions if n in bundles and n not in {serving, wanted.champion}]
    return spare[-1] if spare else None


def why_not(wanted: Wanted, refused: Mapping[int, str]) -> str:
    """Why a model is not served at all."""
    if wanted.champion is None:
        return NO_CHAMPION
    return f"champion {wanted.champion}: {refused.get(wanted.champion, 'not loaded')}"
