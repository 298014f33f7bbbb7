"""Versions and aliases: what exists, what may be served, and every change of what is served.

A change checks the expected generation, moves aliases, counts the generation up and records an event, all in the
caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from trimtab.errors import (
    AliasNotFound,
    AlreadyExists,
    NothingToRollBack,
    VersionNotFound,
    VersionRefused,
)
from trimtab.ledger.clock import now
from trimtab.ledger.events import record_event
from trimtab.ledger.examples import remove_probation
from trimtab.ledger.models import ModelRow, get_model, next_generation, on_base, require_generation
from trimtab.ledger.parked import unpark
from trimtab.ledger.schema import aliases, versions
from trimtab.ledger.upsert import insert_into

CHAMPION, PREVIOUS = "champion", "previous"
# While it exists, an operator holds the model: nothing is promoted by itself. It moves with the champion.
PINNED = "pinned"


class VersionState(StrEnum):
    """What became of a version."""

    RESERVED = "reserved"  # a job took the number; there are no files yet
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    HELD = "held"
    ROLLED_BACK = "rolled_back"
    QUARANTINED = "quarantined"
    COLLECTED = "collected"  # retention deleted its files; the row tells what it was


_REFUSED = frozenset({VersionState.REJECTED, VersionState.QUARANTINED})


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a model.

    Attributes:
        model, n: The model and the version's number, from 1.
        digest: sha256 (hex) of the manifest; None while only reserved.
        parent: The version that it was trained from.
        state, reason: What became of it, and why.
        job_id: The job that made it.
        created_at: Epoch seconds.
        manifest, gate: The manifest and the gate's checks as plain JSON objects.
    """

    model: str
    n: int
    digest: str | None
    parent: int | None
    state: VersionState
    reason: str
    job_id: str | None
    created_at: float
    manifest: dict[str, Any]
    gate: dict[str, Any] | None

    @property
    def has_files(self) -> bool:
        """Whether the store should have its files."""
        return self.digest is not None and self.state is not VersionState.COLLECTED


@dataclass(frozen=True, kw_only=True)
class Served:
    """A version as a replica needs it at every look: without manifest and gate, which are large."""

    model: str
    n: int
    digest: str | None
    state: VersionState
    reason: str


def reserve_version(tx: Connection, model: str, job_id: str) -> int:
    """The number of the job's version: the next free one, the same again for the same job. Raises ModelNotFound."""
    get_model(tx, model)
    taken = select(versions.c.n).where(versions.c.model == model, versions.c.job_id == job_id)
    n = tx.execute(taken).scalar_one_or_none()
    if n is not None:
        return int(n)
    n = _next_number(tx, model)
    row = {"model": model, "n": n, "state": VersionState.RESERVED, "reason": "", "job_id": job_id}
    tx.execute(insert(versions).values(**row, manifest={}, created_at=now(tx)))
    return n


def record_version(
    tx: Connection,
    model: str,
    n: int,
    digest: str,
    parent: int | None,
    state: VersionState,
    *,
    manifest: Mapping[str, Any],
    gate: Mapping[str, Any] | None = None,
    reason: str = "",
) -> Version:
    """Fill in a reserved version, or add one (as `init` does). The same digest again changes nothing.

    Raises:
        ModelNotFound: There is no such model.
        AlreadyExists: The number is taken by another digest.
    """
    get_model(tx, model)
    found = _find(tx, model, n)
    if found is not None and found.digest is not None:
        if found.digest == digest:
            return found
        raise AlreadyExists(f"Version {n} of {model!r} has another digest.")
    values: dict[str, Any] = {
        "digest": digest,
        "parent": parent,
        "state": state,
        "reason": reason,
        "created_at": now(tx),
    }
    values |= {"manifest": dict(manifest), "gate": None if gate is None else dict(gate)}
    if found is None:
        tx.execute(insert(versions).values(model=model, n=n, **values))
    else:
        tx.execute(update(versions).where(*_is(model, n)).values(**values))
    record_event(tx, "version_recorded", model, {"version": n, "state": state, "reason": reason})
    return get_version(tx, model, n)


def get_version(tx: Connection, model: str, n: int) -> Version:
    """The version; raises VersionNotFound."""
    version = _find(tx, model, n)
    if version is None:
        raise VersionNotFound(f"There is no version {n} of {model!r}.")
    return version


def list_versions(tx: Connection, model: str) -> list[Version]:
    """Every version of the model, by number."""
    rows = tx.execute(select(versions).where(versions.c.model == model).order_by(versions.c.n)).mappings()
    return [_version(row) for row in rows]


def get_aliases(tx: Connection, model: str) -> dict[str, int]:
    """The version number behind each alias."""
    rows = tx.execute(select(aliases.c.alias, aliases.c.n).where(aliases.c.model == model))
    return {alias: int(n) for alias, n in rows}


def served_model(tx: Connection, model: str) -> ModelRow:
    """The model with the base and the classes of its champion. Raises ModelNotFound."""
    row, champion = get_model(tx, model), get_aliases(tx, model).get(CHAMPION)
    manifest = {} if champion is None else get_version(tx, model, champion).manifest
    if labels := manifest.get("labels"):
        row = replace(row, labels=tuple(labels))
    base = manifest.get("base", {})
    return on_base(row, base["name"], base["digest"]) if base else row


def served_versions(tx: Connection) -> dict[str, dict[str, Served]]:
    """{model: {alias: version}} of every version that an alias points at, in one query."""
    columns = (versions.c.model, versions.c.n, versions.c.digest, versions.c.state, versions.c.reason)
    pointed = (aliases.c.model == versions.c.model) & (aliases.c.n == versions.c.n)
    rows = tx.execute(select(aliases.c.alias, *columns).select_from(aliases.join(versions, pointed)))
    found: dict[str, dict[str, Served]] = {}
    for alias, model, n, digest, state, reason in rows:
        served = Served(model=model, n=int(n), digest=digest, state=VersionState(state), reason=reason)
        found.setdefault(model, {})[alias] = served
    return found


def set_alias(
    tx: Connection,
    model: str,
    alias: str,
    n: int,
    *,
    actor: str,
    reason: str,
    expected_generation: int | None = None,
    force: bool = False,
) -> int:
    """Point an alias at a version; returns the generation. "champion" promotes.

    Pointing it where it points already changes nothing.

    Raises:
        ModelNotFound, VersionNotFound: There is no such model or version.
        GenerationMismatch: The generation is not the expected one.
        VersionRefused: The version has no files, or was rejected or quarantined and `force` is not set.
    """
    if alias == CHAMPION:
        return promote(
            tx, model, n, actor=actor, reason=reason, expected_generation=expected_generation, force=force
        )
    generation = require_generation(tx, model, expected_generation)
    _require_servable(get_version(tx, model, n), force=force)
    if get_aliases(tx, model).get(alias) == n:
        return generation
    _point(tx, model, alias, n)
    generation = next_generation(tx, model)
    detail = {"alias": alias, "version": n, "reason": reason, "generation": generation}
    record_event(tx, "alias_set", model, detail, actor)
    return generation


def drop_alias(
    tx: Connection, model: str, alias: str, *, actor: str, reason: str, expected_generation: int | None = None
) -> int:
    """Remove an alias; returns the new generation.

    Raises:
        AliasNotFound: There is no such alias.
        VersionRefused: It is the champion: something must be served.
        GenerationMismatch: The generation is not the expected one.
    """
    require_generation(tx, model, expected_generation)
    if alias == CHAMPION:
        raise VersionRefused("The champion cannot be removed: promote another version instead.")
    if alias not in get_aliases(tx, model):
        raise AliasNotFound(f"{model!r} has no alias {alias!r}.")
    _unpoint(tx, model, alias)
    generation = next_generation(tx, model)
    detail = {"alias": alias, "reason": reason, "generation": generation}
    record_event(tx, "alias_dropped", model, detail, actor)
    return generation


def promote(
    tx: Connection,
    model: str,
    n: int,
    *,
    actor: str,
    reason: str,
    expected_generation: int | None = None,
    force: bool = False,
) -> int:
    """Make a version champion, and the old champion `previous`; returns the generation.

    A version that was held or rolled back is accepted by this; what is parked for it enters on probation. Promoting the
    champion changes nothing.

    Raises:
        ModelNotFound, VersionNotFound: There is no such model or version.
        GenerationMismatch: The generation is not the expected one.
        VersionRefused: The version has no files, or was rejected or quarantined and `force` is not set.
    """
    generation = require_generation(tx, model, expected_generation)
    _require_servable(get_version(tx, model, n), force=force)
    champion = get_aliases(tx, model).get(CHAMPION)
    if champion == n:
        return generation
    _point(tx, model, CHAMPION, n)
    if champion is not None:
        _point(tx, model, PREVIOUS, champion)
    _move_pin(tx, model, n)
    set_state(tx, model, n, VersionState.ACCEPTED, reason)
    unpark(tx, model, n)
    generation = next_generation(tx, model)
    detail = {"version": n, "previous": champion, "reason": reason, "generation": generation}
    record_event(tx, "promoted", model, detail, actor)
    return generation


def rollback(
    tx: Connection,
    model: str,
    *,
    actor: str,
    reason: str,
    to: int | None = None,
    expected_generation: int | None = None,
) -> int:
    """Step back from the champion to `previous` (or to `to`); returns the number that is champion now.

    The version stepped back from becomes `rolled_back` and its examples on probation are deleted; `previous` is
    removed, so that a second rollback says that there is nothing instead of swinging back.

    Raises:
        ModelNotFound, VersionNotFound: There is no such model or version.
        GenerationMismatch: The generation is not the expected one.
        NothingToRollBack: There is no `previous` and no `to`, or `to` is the champion.
        VersionRefused: `to` has no files, or was rejected or quarantined.
    """
    require_generation(tx, model, expected_generation)
    pointed = get_aliases(tx, model)
    champion, target = pointed.get(CHAMPION), pointed.get(PREVIOUS) if to is None else to
    if champion is None or target is None or target == champion:
        raise NothingToRollBack
    _require_servable(get_version(tx, model, target), force=False)
    _step_back(tx, model, champion, target)
    set_state(tx, model, champion, VersionState.ROLLED_BACK, reason)
    generation = next_generation(tx, model)
    detail = {"version": target, "rolled_back": champion, "reason": reason, "generation": generation}
    record_event(tx, "rolled_back", model, detail, actor)
    return target


def quarantine(tx: Connection, model: str, n: int, *, reason: str, replica: str) -> None:
    """Mark a version that a replica refused to serve, and take every alias off it but a champion without `previous`.

    If it is champion and there is a `previous`, that one becomes champion and the examples on probation are deleted.
    Once quarantined, again is no change. Raises VersionNotFound.
    """
    if get_version(tx, model, n).state is VersionState.QUARANTINED:
        return
    set_state(tx, model, n, VersionState.QUARANTINED, reason)
    before = get_aliases(tx, model)
    if before.get(CHAMPION) == n and before.get(PREVIOUS, n) != n:
        _step_back(tx, model, n, before[PREVIOUS])
    for alias, number in get_aliases(tx, model).items():
        if number == n and alias != CHAMPION:
            _unpoint(tx, model, alias)
    after = get_aliases(tx, model)
    generation = get_model(tx, model).generation if after == before else next_generation(tx, model)
    detail = {"version": n, "champion": after.get(CHAMPION), "reason": reason, "generation": generation}
    record_event(tx, "quarantined", model, detail, replica)


def mark_collected(tx: Connection, version: Version) -> None:
    """Say that the version's files are no longer kept; nothing can serve it from now on, not even by force."""
    because = f" ({version.reason})" if version.reason else ""
    reason = f"its files were deleted by retention; it was {version.state}{because}"
    set_state(tx, version.model, version.n, VersionState.COLLECTED, reason)


def _step_back(tx: Connection, model: str, champion: int, target: int) -> None:
    _point(tx, model, CHAMPION, target)
    _unpoint(tx, model, PREVIOUS)
    _move_pin(tx, model, target)
    remove_probation(tx, model, champion)


def _move_pin(tx: Connection, model: str, n: int) -> None:
    if PINNED in get_aliases(tx, model):
        _point(tx, model, PINNED, n)


def _require_servable(version: Version, *, force: bool) -> None:
    if version.digest is None:
        raise VersionRefused(f"Version {version.n} of {version.model!r} has no files yet.")
    if not version.has_files:
        raise VersionRefused(
            f"Version {version.n} of {version.model!r} has no files any more: {version.reason}."
        )
    if version.state in _REFUSED and not force:
        because = f" ({version.reason})" if version.reason else ""
        raise VersionRefused(f"Version {version.n} of {version.model!r} is {version.state}{because}.")


def _next_number(tx: Connection, model: str) -> int:
    newest = tx.execute(select(func.max(versions.c.n)).where(versions.c.model == model)).scalar_one()
    return int(newest or 0) + 1


def _find(tx: Connection, model: str, n: int) -> Version | None:
    row = tx.execute(select(versions).where(*_is(model, n))).mappings().one_or_none()
    return None if row is None else _version(row)


def _version(row: RowMapping) -> Version:
    return Version(**{**row, "state": VersionState(row["state"])})


def _is(model: str, n: int) -> tuple[Any, Any]:
    return versions.c.model == model, versions.c.n == n


def set_state(tx: Connection, model: str, n: int, state: VersionState, reason: str) -> None:
    """Say what became of a version; its aliases stay where they are."""
    tx.execute(update(versions).where(*_is(model, n)).values(state=state, reason=reason))


def _point(tx: Connection, model: str, alias: str, n: int) -> None:
    statement = insert_into(tx, aliases).values(model=model, alias=alias, n=n)
    tx.execute(statement.on_conflict_do_update(index_elements=["model", "alias"], set_={"n": n}))


def _unpoint(tx: Connection, model: str, alias: str) -> None:
    tx.execute(delete(aliases).where(aliases.c.model == model, aliases.c.alias == alias))
