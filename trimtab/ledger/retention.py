"""Which versions may lose their files: nothing serves them, needs them for a test, or could want them back soon."""

from __future__ import annotations

from sqlalchemy import Connection, select

from trimtab.ledger.clock import now
from trimtab.ledger.events import record_event
from trimtab.ledger.examples import ROLES
from trimtab.ledger.models import list_models
from trimtab.ledger.parked import discard
from trimtab.ledger.schema import aliases, examples, versions
from trimtab.ledger.versions import Version, VersionState, list_versions, mark_collected


def collectable(tx: Connection, *, older_than_s: float, keep_newest: int) -> list[Version]:
    """Versions whose files nobody needs any more.

    A version stays while an alias points at it (champion, previous, baseline, or one that an operator set), while
    examples name it (the gate holds candidates against the version that was first accepted on a domain), while it is
    among the `keep_newest` of its model, or younger than `older_than_s` seconds.
    """
    before = now(tx) - older_than_s
    return [
        version
        for model in list_models(tx)
        for version in _beyond_newest(list_versions(tx, model.name), keep_newest)
        if version.created_at < before and version.n not in _needed(tx, model.name)
    ]


def collect_versions(tx: Connection, *, older_than_s: float, keep_newest: int) -> list[Version]:
    """Mark every collectable version, and delete what is parked for it; its files may go once this is committed."""
    found = collectable(tx, older_than_s=older_than_s, keep_newest=keep_newest)
    for version in found:
        mark_collected(tx, version)
        discard(tx, version.model, version.n)
        detail = {"version": version.n, "digest": version.digest, "was": version.state}
        record_event(tx, "version_collected", version.model, detail)
    return found


def digests_in_use(tx: Connection) -> set[str]:
    """Digests of every version that has its files."""
    rows = tx.execute(select(versions.c.digest).where(versions.c.state != VersionState.COLLECTED)).scalars()
    return {digest for digest in rows if digest is not None}


def _beyond_newest(found: list[Version], keep_newest: int) -> list[Version]:
    with_files = [version for version in found if version.has_files]
    return with_files[: max(0, len(with_files) - keep_newest)]


def _needed(tx: Connection, model: str) -> set[int]:
    pointed = tx.execute(select(aliases.c.n).where(aliases.c.model == model)).scalars()
    in_use = (examples.c.model == model, examples.c.role.in_(ROLES))
    named = tx.execute(select(examples.c.version).where(*in_use).distinct()).scalars()
    return {*pointed, *named}
