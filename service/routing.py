"""What this replica serves: an immutable table that is replaced whole, by one assignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab.bundle import ModelBundle
from trimtab.errors import InvalidInput, ModelNotFound, NotReady, VersionNotLoaded
from trimtab.ledger.versions import PINNED
from trimtab.trial import CHALLENGER, Stage, Trial, answers

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
    # Of the version that is tried on the traffic; None where nothing is.
    trial: Trial | None = None

    @property
    def content(self) -> tuple[object, ...]:
        """What two routes of one model may differ in; bundles are told apart by their digest."""
        digests = {n: bundle.digest for n, bundle in self.bundles.items()}
        trial = self.trial and (self.trial.version, self.trial.champion, self.trial.stage, self.trial.share)
        return self.generation, self.aliases, digests, self.refused, trial

    @property
    def champion(self) -> ModelBundle:
        return self.bundles[self.aliases[CHAMPION]]

    @property
    def challenger(self) -> ModelBundle | None:
        """The version on trial where its trial holds: it is loaded, the champion is still the one that it is held
        against, and nobody pinned that one.
        """
        trial = self.trial
        if trial is None or trial.stage.final or PINNED in self.aliases:
            return None
        tried = (trial.version, trial.champion)
        return self.bundles[trial.version] if tried == self._rivals else None

    def pick(self, version: int | str | None, asker: str | None = None) -> ModelBundle:
        """The bundle of a version number or alias; for None the champion, or the challenger for its share of askers.

        Args:
            asker: Who is to be answered by the same version every time; None: nobody, the champion answers.

        Raises:
            VersionNotLoaded: It is not served here.
        """
        if version is None:
            return self._answering(asker)
        number = self.aliases.get(version) if isinstance(version, str) else version
        bundle = self.bundles.get(number) if number is not None else None
        if bundle is None:
            raise VersionNotLoaded(
                f"version {version} of {self.model} is not loaded; loaded are {self._loaded()}"
            )
        return bundle

    def _answering(self, asker: str | None) -> ModelBundle:
        trial, challenger = self.trial, self.challenger
        if asker is None or trial is None or challenger is None or trial.stage is not Stage.CANARY:
            return self.champion
        return challenger if answers(trial.share, trial.salt, asker) else self.champion

    @property
    def _rivals(self) -> tuple[int | None, int]:
        return self.aliases.get(CHALLENGER), self.champion.version

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
