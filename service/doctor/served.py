"""What should be served and who works on it: versions and base models, replicas, the monitor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, select

from service.doctor.check import Check, fail, ok, warn
from service.doctor.places import nothing_yet
from trimtab.adapter import load_public_key, verify
from trimtab.errors import AdapterRefused, NotFound
from trimtab.ledger import Ledger
from trimtab.ledger.clock import now
from trimtab.ledger.migrate import current_revision
from trimtab.ledger.models import ModelRow, generations, list_models
from trimtab.ledger.replicas import ReplicaRow, list_replicas
from trimtab.ledger.schema import leases
from trimtab.ledger.versions import Version, get_aliases, get_version
from trimtab.settings import Settings
from trimtab.store import AdapterStore

SILENT_S = 30.0
"""A replica reports every five seconds."""


def check_served(settings: Settings) -> Iterator[Check]:
    """Every version that an alias points at is in the store and verifies; every base model is here."""
    for tx in _migrated(settings):
        for model in list_models(tx):
            for n in sorted(set(get_aliases(tx, model.name).values())):
                yield _version(settings, get_version(tx, model.name, n))
            yield _base(model)


def check_replicas(settings: Settings) -> Iterator[Check]:
    """Replicas that report serve the generation that the ledger wants."""
    for tx in _migrated(settings):
        wanted, reported = generations(tx), list_replicas(tx)
        yield from (_replica(replica, wanted) for replica in reported)
        if not reported:
            yield warn("replicas", "no API reports", "start one with `trimtab serve` or `trimtab up`")


def check_monitor(settings: Settings) -> Iterator[Check]:
    """A monitor holds the lease."""
    for tx in _migrated(settings):
        alive = leases.c.expires_at > now(tx)
        holder = select(leases.c.owner).where(leases.c.name == "monitor", alive)
        owner = tx.execute(holder).scalar_one_or_none()
        if owner is None:
            yield warn("monitor", "none holds the lease", "start one with `trimtab monitor` or `trimtab up`")
        else:
            yield ok("monitor", f"{owner} works")


def _migrated(settings: Settings) -> Iterator[Connection]:
    """One look at the ledger; none where there is no ledger, or no table in it yet."""
    if nothing_yet(settings):
        return
    ledger = Ledger(settings.ledger_url)
    try:
        with ledger.read() as tx:
            if current_revision(tx) is not None:
                yield tx
    finally:
        ledger.close()


def _version(settings: Settings, version: Version) -> Check:
    name = f"version {version.n} of {version.model}"
    try:
        files = AdapterStore(settings.store_url).get(version.digest or "")
        verify(files, load_public_key(settings.public_key_path), version.digest)
    except (AdapterRefused, NotFound) as error:
        return fail(name, str(error), "restore the store from a backup, or roll back")
    return ok(name, "signature and digests hold")


def _base(model: ModelRow) -> Check:
    path = Path(model.base)
    if not path.is_absolute():
        return ok(f"base of {model.name}", f"hub id {model.base}")
    if path.is_dir():
        return ok(f"base of {model.name}", model.base)
    return fail(f"base of {model.name}", f"{model.base} is not here", "API and workers need it at this path")


def _replica(replica: ReplicaRow, wanted: dict[str, int]) -> Check:
    name = f"replica {replica.replica}"
    if replica.age_s > SILENT_S:
        return warn(name, f"silent for {replica.age_s:.0f} s", "it was killed, or cannot reach the ledger")
    behind = {model: n for model, n in wanted.items() if n and replica.generations.get(model) != n}
    if behind:
        serves = {model: replica.generations.get(model) for model in behind}
        return warn(
            name, f"serves generation {serves}, wanted {behind}", "look at `trimtab status` and its log"
        )
    return ok(name, f"serves what is wanted, reported {replica.age_s:.0f} s ago")
