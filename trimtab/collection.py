"""Garbage collection of the store: the ledger decides what may go, then the files go."""

from __future__ import annotations

import time
from dataclasses import dataclass

from trimtab.ledger import Ledger
from trimtab.ledger.retention import collect_versions, collectable, digests_in_use
from trimtab.ledger.versions import Version
from trimtab.settings import StoreSettings
from trimtab.store import AdapterStore

ORPHAN_S = 86_400.0
"""A worker writes the files of a version before its row: files without a row are left alone for a day."""


@dataclass(frozen=True)
class Collected:
    """Versions that retention lets go, and digests in the store that no version has any more."""

    versions: tuple[Version, ...]
    digests: tuple[str, ...]


def plan_collection(ledger: Ledger, store: AdapterStore, keep: StoreSettings) -> Collected:
    """What `collect` would do now; changes nothing. Raises LedgerUnavailable, StoreUnavailable."""
    with ledger.read() as tx:
        found = collectable(tx, older_than_s=keep.retention_s, keep_newest=keep.keep_versions)
        used = digests_in_use(tx)
    going = {version.digest for version in found}
    return Collected(tuple(found), tuple(sorted(_unused(store, used - going, going))))


def collect(ledger: Ledger, store: AdapterStore, keep: StoreSettings) -> Collected:
    """Mark what may go, then delete every file that no version needs; interrupted, the next call goes on.

    The rows are committed first: from then on nothing can promote those versions. Raises as `plan_collection`.
    """
    with ledger.begin() as tx:
        found = collect_versions(tx, older_than_s=keep.retention_s, keep_newest=keep.keep_versions)
        used = digests_in_use(tx)
    unused = sorted(_unused(store, used, {version.digest for version in found}))
    for digest in unused:
        store.delete(digest)
    return Collected(tuple(found), tuple(unused))


def _unused(store: AdapterStore, used: set[str | None] | set[str], going: set[str | None]) -> set[str]:
    """Digests in the store that no version uses: those that go now, and leftovers old enough to be nobody's work."""
    before = time.time() - ORPHAN_S
    return {
        digest
        for digest, written_at in store.digests().items()
        if digest not in used and (digest in going or written_at < before)
    }
