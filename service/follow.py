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
from service.departures import Departures
from service.exposition import drop_series
from service.routing import Route, Routing, RoutingTable
from service.shadow import Shadow
from service.swap import Failure, Loader, phase
from service.threads import use_threads
from service.wanted import Wanted, at_hand, least_important, route_of, wanted_of, why_not, with_incumbent
from trimtab import metrics
from trimtab.bundle import ModelBundle
from trimtab.errors import LedgerUnavailable, TrimtabError
from trimtab.ledger import Ledger, keys, models, replicas, trials, versions

REPORT_S = 5.0
_log = logging.getLogger(__name__)


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
        keyring: Keyring,
        shadow: Shadow,
        *,
        replica: Replica,
        poll_s: float,
        drain_s: float,
    ) -> None:
        """poll_s: pause between two looks; drain_s: how long a version that goes may be held before it is a warning."""
        self.wake = threading.Event()
        self._ledger = ledger
        self._loader = loader
        self._routing = routing
        self._keyring = keyring
        self._shadow = shadow
        self._replica = replica
        self._poll_s = poll_s
        self._departures = Departures(drain_s)
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
        # What is loaded goes first: no rollback and no other model waits while something is built.
        changed = [self._publish(each, at_hand(each, self._route(each))) for each in wanted.values()]
        changed += [self._build_missing(each) for each in wanted.values()]
        self._complete(wanted)
        self._departures.look()
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
            served, tried = versions.served_versions(tx), trials.open_trials(tx)
            wanted = {
                row.name: wanted_of(row, served.get(row.name, {}), tried.get(row.name))
                for row in models.list_models(tx)
            }
        return wanted, principals

    def _route(self, wanted: Wanted) -> Route | None:
        return self._routing.table.routes.get(wanted.model.name)

    def _build_missing(self, wanted: Wanted) -> bool:
        """Loads what is wanted and not there, the champion first, and serves each as soon as it can; whether it did."""
        bundles, changed = at_hand(wanted, self._route(wanted)), False
        for n, version in wanted.versions.items():
            if n in bundles or n in wanted.quarantined:
                continue
            before, outcome = self._loader.failure(version), self._loader.load(wanted.model, version)
            crowded = isinstance(outcome, Failure) and outcome.no_room and n == wanted.champion
            if not isinstance(outcome, Failure):
                bundles[n] = outcome
            elif crowded and outcome is not before:
                self._make_room(wanted, bundles)
            changed |= self._publish(wanted, bundles)
            if crowded or self._route(wanted) is None:
                break  # the others would take its room; without a champion there is nowhere to keep them
        self._quarantine(wanted)
        return changed

    def _make_room(self, wanted: Wanted, bundles: dict[int, ModelBundle]) -> None:
        """Lets the least important version go for the champion, which is tried again soon."""
        route = self._route(wanted)
        spare = least_important(wanted, bundles, route.champion.version) if route else None
        if spare is not None:
            del bundles[spare]

    def _publish(self, wanted: Wanted, bundles: Mapping[int, ModelBundle]) -> bool:
        """Serves these bundles; whether anything changed. Without the wanted champion a model keeps the one it has."""
        name, before = wanted.model.name, self._route(wanted)
        metrics.GENERATION.labels(name).set(wanted.model.generation)
        refused = self._loader.failures(name) | wanted.quarantined
        if wanted.champion in bundles:
            return self._activate(route_of(wanted, bundles, refused), before)
        if before is not None:
            return self._activate(with_incumbent(wanted, bundles, refused, before), before)
        return self._wait(name, why_not(wanted, refused))

    def _quarantine(self, wanted: Wanted) -> None:
        """Tells everybody what was refused here; not where nothing of the model loads: then the fault may be ours."""
        if self._route(wanted) is None:
            return
        for n, version in wanted.versions.items():
            failure = self._loader.failure(version)
            if failure is not None and failure.final and n not in wanted.quarantined:
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
        for bundle in before.bundles.values() if before else ():
            if not any(bundle is kept for kept in route.bundles.values()):
                self._departures.add(bundle)
        return True

    def _announce(self, route: Route, before: Route | None) -> None:
        metrics.SWAPS.labels(route.model, "activated").inc()
        for old in (before.champion,) if before else ():
            drop_series(metrics.SERVING_VERSION, route.model, str(old.version), old.digest[:16])
        champion = route.champion
        metrics.SERVING_VERSION.labels(route.model, str(champion.version), champion.digest[:16]).set(1)
        detail = {"model": route.model, "version": champion.version, "generation": route.generation}
        _log.info("version %d of %s serves", champion.version, route.model, extra=detail)

    def _put(self, route: Route) -> None:
        table = self._routing.table
        waiting = {name: reason for name, reason in table.waiting.items() if name != route.model}
        self._routing.table = RoutingTable(
            routes={**table.routes, route.model: route}, waiting=waiting, starting=table.starting
        )

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
        refused = {
            name: refusals for name, route in table.routes.items() if (refusals := self._refused(route))
        }
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

    def _refused(self, route: Route) -> dict[str, str]:
        """Version -> why it is not served, or why it failed on trial."""
        tried = route.trial.version if route.trial else 0
        failure = self._shadow.failure(route.model, tried)
        return {str(n): reason for n, reason in route.refused.items()} | (
            {str(tried): failure} if failure else {}
        )


def _serving(route: Route) -> dict[str, object]:
    versions_loaded = {str(n): bundle.digest for n, bundle in sorted(route.bundles.items())}
    return {"champion": route.champion.version, "aliases": dict(route.aliases), "versions": versions_loaded}
