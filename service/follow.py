"""Following the ledger: what it wants to be served becomes what this replica serves. Pulled, never pushed.

Level-triggered: a replica that was restarted, is new or missed every message runs the same code. Anything that goes
wrong leaves the incumbent where it is, with the reason in the ledger, in the replica's report and in a metric.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.auth import Keyring, Principal
from service.batching import Batcher, use_threads
from service.routing import CHAMPION, NO_CHAMPION, Route, Routing, RoutingTable
from service.swap import Failure, Loader, phase
from trimtab import metrics
from trimtab.bundle import ModelBundle
from trimtab.errors import LedgerUnavailable, TrimtabError
from trimtab.ledger import Ledger, keys, models, replicas, versions
from trimtab.ledger.models import ModelRow
from trimtab.ledger.versions import Version, VersionState

REPORT_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What the ledger wants of one model."""

    model: ModelRow
    # Alias -> version.
    aliases: Mapping[str, int]
    # The aliased versions by number.
    versions: Mapping[int, Version]


@dataclass(frozen=True)
class Replica:
    """Who this process is, in its reports."""

    name: str
    pid: int
    url: str


class Follower:
    """Owns the thread that keeps `routing.table` and `keyring` up to date."""

    def __init__(
        self,
        ledger: Ledger,
        loader: Loader,
        routing: Routing,
        batcher: Batcher,
        keyring: Keyring,
        *,
        replica: Replica,
        poll_s: float,
        drain_s: float,
    ) -> None:
        """poll_s: pause between two looks; drain_s: longest wait for requests on a version that goes."""
        self.wake = threading.Event()
        self._ledger = ledger
        self._loader = loader
        self._routing = routing
        self._batcher = batcher
        self._keyring = keyring
        self._replica = replica
        self._poll_s = poll_s
        self._drain_s = drain_s
        self._reported_at = float("-inf")
        self._ledger_up = True
        self._migrated = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Ends the thread and takes this replica off the list."""
        self._stopped.set()
        self.wake.set()
        self._thread.join(timeout_s)
        try:
            with self._ledger.begin() as tx:
                replicas.forget_replica(tx, self._replica.name)
        except LedgerUnavailable:
            _log.warning("the ledger is away: this replica stays on the list until it expires")

    def look(self) -> None:
        """One look at the ledger, and everything that follows from it. Raises TrimtabError when it cannot be read."""
        if not self._migrated:
            self._ledger.migrate()
            self._migrated = True
        wanted, principals = self._read()
        self._keyring.replace(principals)
        changed = [self._converge(each) for each in wanted.values()]
        self._complete(wanted)
        if any(changed) or time.monotonic() - self._reported_at >= REPORT_S:
            self._report()

    def _run(self) -> None:
        # Building must not take the cores from those who answer.
        use_threads(1)
        while not self._stopped.is_set():
            self.wake.clear()
            try:
                self.look()
                self._note_ledger(up=True)
            except TrimtabError as error:
                self._note_ledger(up=False, reason=str(error))
            except Exception:  # noqa: BLE001  # the loop must survive; what is loaded goes on serving
                _log.exception("following failed; what is loaded goes on serving")
            # Jitter, so that replicas do not ask all at the same moment.
            self.wake.wait(self._poll_s * random.uniform(0.8, 1.2))

    def _note_ledger(self, *, up: bool, reason: str = "") -> None:
        if up != self._ledger_up:
            self._ledger_up = up
            _log.warning("the ledger %s", "is back" if up else "is away", extra={"reason": reason})
        if not up and not self._routing.table.routes:
            starting = "the ledger cannot be read; it is tried again"
            self._routing.table = replace(self._routing.table, starting=starting)

    def _read(self) -> tuple[dict[str, Wanted], dict[str, Principal]]:
        with self._ledger.read() as tx:
            principals = {
                digest.hex(): Principal(key.client or key.name, key.roles)
                for digest, key in keys.live_keys(tx).items()
            }
            wanted = {}
            for model in models.list_models(tx):
                aliases = versions.get_aliases(tx, model.name)
                rows = {n: versions.get_version(tx, model.name, n) for n in sorted(set(aliases.values()))}
                wanted[model.name] = Wanted(model, aliases, rows)
        return wanted, principals

    def _converge(self, wanted: Wanted) -> bool:
        """Brings one model to what is wanted; whether anything changed."""
        name = wanted.model.name
        metrics.GENERATION.labels(name).set(wanted.model.generation)
        route = self._routing.table.routes.get(name)
        bundles, refused = self._load(wanted, route)
        self._quarantine(wanted, loaded=bool(bundles))
        champion = wanted.aliases.get(CHAMPION)
        if champion in bundles:
            return self._activate(_route_of(wanted, bundles, refused), route)
        if route is not None:
            return self._put(replace(route, refused=refused))
        return self._wait(name, _why_not(wanted, refused))

    def _load(self, wanted: Wanted, route: Route | None) -> tuple[dict[int, ModelBundle], dict[int, str]]:
        """Every aliased version that can be had, and why the others cannot."""
        bundles: dict[int, ModelBundle] = {}
        refused = self._loader.failures(wanted.model.name)
        for n, version in wanted.versions.items():
            loaded = route.bundles.get(n) if route else None
            if version.state is VersionState.QUARANTINED:
                refused[n] = version.reason or "quarantined"
            elif loaded is not None and loaded.digest == version.digest:
                bundles[n] = loaded
            else:
                outcome = self._loader.load(wanted.model, version)
                if isinstance(outcome, Failure):
                    refused[n] = outcome.reason
                else:
                    bundles[n] = outcome
        return bundles, refused

    def _quarantine(self, wanted: Wanted, *, loaded: bool) -> None:
        """Tells everybody what was refused here; not where nothing of the model loads: then the fault may be ours."""
        if not loaded:
            return
        for n, version in wanted.versions.items():
            failure = self._loader.failure(version)
            if failure is not None and failure.final and version.state is not VersionState.QUARANTINED:
                name, reason = wanted.model.name, failure.reason
                with self._ledger.begin() as tx:
                    versions.quarantine(tx, name, n, reason=reason, replica=self._replica.name)
                # The champion may be another one now.
                self.wake.set()

    def _activate(self, route: Route, before: Route | None) -> bool:
        """The swap: one assignment; batches that run keep the bundle they pinned."""
        if before is not None and before.content == route.content:
            return False
        with phase("activate"):
            self._put(route)
        metrics.OBSERVED_GENERATION.labels(route.model).set(route.generation)
        if before is None or before.champion is not route.champion:
            self._announce(route, before)
        with phase("drain"):
            self._drain(route, before)
        return True

    def _announce(self, route: Route, before: Route | None) -> None:
        metrics.SWAPS.labels(route.model, "activated").inc()
        for old in (before.champion,) if before else ():
            metrics.SERVING_VERSION.remove(route.model, str(old.version), old.digest[:16])
        champion = route.champion
        metrics.SERVING_VERSION.labels(route.model, str(champion.version), champion.digest[:16]).set(1)
        detail = {"model": route.model, "version": champion.version, "generation": route.generation}
        _log.info("version %d of %s serves", champion.version, route.model, extra=detail)

    def _drain(self, route: Route, before: Route | None) -> None:
        """Waits until no request is left on bundles that no alias keeps; their memory goes with the last reference."""
        for bundle in before.bundles.values() if before else ():
            kept = any(bundle is other for other in route.bundles.values())
            if not kept and not self._batcher.wait_unused(bundle, self._drain_s):
                _log.warning("version %d of %s still has requests", bundle.version, bundle.model)

    def _put(self, route: Route) -> bool:
        table = self._routing.table
        before = table.routes.get(route.model)
        if before is not None and before.content == route.content:
            return False
        waiting = {name: reason for name, reason in table.waiting.items() if name != route.model}
        self._routing.table = RoutingTable(
            routes={**table.routes, route.model: route}, waiting=waiting, starting=table.starting
        )
        return True

    def _wait(self, name: str, reason: str) -> bool:
        table = self._routing.table
        if table.waiting.get(name) == reason:
            return False
        self._routing.table = replace(table, waiting={**table.waiting, name: reason})
        return True

    def _complete(self, wanted: Mapping[str, Wanted]) -> None:
        """Every model was looked at: those that the ledger no longer knows go, and the start is over."""
        table = self._routing.table
        routes = {name: route for name, route in table.routes.items() if name in wanted}
        waiting = {name: reason for name, reason in table.waiting.items() if name in wanted}
        if table.starting or len(routes) < len(table.routes) or len(waiting) < len(table.waiting):
            self._routing.table = RoutingTable(routes=routes, waiting=waiting, starting="")

    def _report(self) -> None:
        table = self._routing.table
        refused = {name: _as_text(route.refused) for name, route in table.routes.items() if route.refused}
        with self._ledger.begin() as tx:
            replicas.report_replica(
                tx,
                self._replica.name,
                pid=self._replica.pid,
                url=self._replica.url,
                serving={name: _serving(route) for name, route in table.routes.items()},
                generations={name: route.generation for name, route in table.routes.items()},
                refused=refused | {name: {"": reason} for name, reason in table.waiting.items()},
            )
        self._reported_at = time.monotonic()


def _route_of(wanted: Wanted, bundles: Mapping[int, ModelBundle], refused: Mapping[int, str]) -> Route:
    return Route(
        model=wanted.model.name,
        base=wanted.model.base,
        generation=wanted.model.generation,
        aliases={alias: n for alias, n in wanted.aliases.items() if n in bundles},
        bundles=bundles,
        refused=refused,
    )


def _why_not(wanted: Wanted, refused: Mapping[int, str]) -> str:
    champion = wanted.aliases.get(CHAMPION)
    if champion is None:
        return NO_CHAMPION
    return f"champion {champion}: {refused.get(champion, 'not loaded')}"


def _serving(route: Route) -> dict[str, object]:
    versions_loaded = {str(n): bundle.digest for n, bundle in sorted(route.bundles.items())}
    return {"champion": route.champion.version, "aliases": dict(route.aliases), "versions": versions_loaded}


def _as_text(refused: Mapping[int, str]) -> dict[str, str]:
    return {str(n): reason for n, reason in refused.items()}
