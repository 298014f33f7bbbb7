"""What the gate remembers: first answers to its examples, uses of its sets, and windows that nothing is learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, delete, exists, insert, select

from trimtab.jobs import AdaptationJob
from trimtab.ledger.clock import now
from trimtab.ledger.schema import examples, gate_bits, gate_history, jobs, quarantined_windows
from trimtab.ledger.upsert import insert_into


@dataclass(frozen=True)
class Bit:
    """Whether `version`, under which a gate example was first accepted, answered it rightly."""

    version: int
    right: bool


@dataclass(frozen=True, kw_only=True)
class Window:
    """Predictions `from_seq` to `to_seq` (both included) of a model that nothing is learnt from, and why.

    version: The version that had learnt from it, if any was made. job_id: The job that did.
    """

    model: str
    from_seq: int
    to_seq: int
    reason: str
    version: int | None = None
    job_id: str | None = None
    at: float = 0.0


class _Placed(Protocol):
    @property
    def seq(self) -> int: ...


P = TypeVar("P", bound=_Placed)


def record_bits(tx: Connection, model: str, version: int, right: Mapping[str, Mapping[str, bool]]) -> None:
    """Keeps {domain: {key: right}} of a version that is promoted, for gate examples that have no bit yet.

    Call it when the examples are there. Bits of examples that are gone (forgotten, or rolled back with their version)
    or that came back with a later version are deleted first.
    """
    kept = exists().where(
        examples.c.model == gate_bits.c.model,
        examples.c.role == "gate",
        examples.c.key == gate_bits.c.key,
        examples.c.version <= gate_bits.c.version,
    )
    tx.execute(delete(gate_bits).where(gate_bits.c.model == model, ~kept))
    rows = [
        {"model": model, "domain": domain, "key": key, "version": version, "right": bool(bit)}
        for domain, bits in right.items()
        for key, bit in bits.items()
    ]
    if rows:
        statement = insert_into(tx, gate_bits)
        tx.execute(statement.on_conflict_do_nothing(index_elements=["model", "domain", "key"]), rows)


def first_bits(tx: Connection, model: str) -> dict[str, dict[str, Bit]]:
    """{domain: {key: bit}} of the model's gate examples."""
    columns = (gate_bits.c.domain, gate_bits.c.key, gate_bits.c.version, gate_bits.c.right)
    found: dict[str, dict[str, Bit]] = {}
    for domain, key, version, right in tx.execute(select(*columns).where(gate_bits.c.model == model)):
        found.setdefault(domain, {})[key] = Bit(int(version), bool(right))
    return found


def record_uses(tx: Connection, model: str, job_id: str, sizes: Mapping[str, int]) -> None:
    """Counts one use of each domain's gate set, of so many examples; a job counts once however often it runs."""
    used_at = now(tx)
    rows = [
        {"model": model, "domain": domain, "job_id": job_id, "n": n, "used_at": used_at}
        for domain, n in sizes.items()
    ]
    if rows:
        statement = insert_into(tx, gate_history)
        tx.execute(statement.on_conflict_do_nothing(index_elements=["model", "domain", "job_id"]), rows)


@dataclass(frozen=True)
class SetWear:
    """A domain's gate set: keys of the examples that decided `max_uses` times or more, and of the others.

    uses: How often the set decided: decisions that at least half of today's examples took part in. A set that has
        doubled since starts afresh.
    """

    uses: int
    worn: frozenset[str]
    fresh: frozenset[str]

    @property
    def n(self) -> int:
        return len(self.worn) + len(self.fresh)


def wear(tx: Connection, model: str, max_uses: int = 1) -> dict[str, SetWear]:
    """How worn each domain's gate set is, example by example: one took part in the decisions since it was kept."""
    decided: dict[str, list[float]] = {}
    used = select(gate_history.c.domain, gate_history.c.used_at).where(gate_history.c.model == model)
    for domain, at in tx.execute(used):
        decided.setdefault(domain, []).append(at)
    kept: dict[str, dict[str, int]] = {}
    columns = (examples.c.domain, examples.c.key, examples.c.created_at)
    theirs = (examples.c.model == model, examples.c.role == "gate", examples.c.retired_by.is_(None))
    for domain, key, since in tx.execute(select(*columns).where(*theirs)):
        times = decided.get(domain, ())
        kept.setdefault(domain, {})[key] = sum(at >= since for at in times)
    return {domain: _wear(counts, max_uses) for domain, counts in kept.items()}


def _wear(counts: Mapping[str, int], max_uses: int) -> SetWear:
    """Of {key: decisions}."""
    worn = frozenset(key for key, n in counts.items() if n >= max_uses)
    in_order = sorted(counts.values())
    return SetWear(in_order[(len(in_order) - 1) // 2], worn, frozenset(counts.keys() - worn))


def uses(tx: Connection, model: str) -> dict[str, int]:
    """How often each domain's gate set decided."""
    return {domain: each.uses for domain, each in wear(tx, model).items()}


def looks(tx: Connection, job: AdaptationJob) -> int:
    """How many other jobs have tested labels of the window that this one reads: their verdicts say so."""
    if job.extent is None:
        return 0
    overlapping = (
        jobs.c.window_from_seq <= job.extent.until_seq,
        jobs.c.window_until_seq >= job.window_from_seq,
    )
    others = (jobs.c.model == job.model, jobs.c.id != job.id, jobs.c.verdict.is_not(None))
    verdicts = tx.execute(select(jobs.c.verdict).where(*others, *overlapping)).scalars()
    return sum(map(_looked, verdicts))


def _looked(verdict: Mapping[str, Any]) -> bool:
    """Whether a test was made on labels of the window: not on too few of them, nor on a past domain's set."""
    checks = verdict.get("checks", ())
    return any(check.get("looks") is not None and check["value"] is not None for check in checks)


def quarantine_window(tx: Connection, window: Window) -> None:
    """Nothing is learnt from this window from now on."""
    values = {name: value for name, value in vars(window).items() if name != "at"}
    tx.execute(insert(quarantined_windows).values(**values, at=now(tx)))


def quarantined(tx: Connection, model: str) -> list[Window]:
    """The model's quarantined windows, oldest first."""
    table = quarantined_windows
    rows = tx.execute(select(table).where(table.c.model == model).order_by(table.c.id)).mappings()
    return [Window(**{name: value for name, value in row.items() if name != "id"}) for row in rows]


def outside(rows: Iterable[P], windows: Sequence[Window]) -> list[P]:
    """The rows (anything with a `seq`) that lie in none of the windows."""
    spans = [(window.from_seq, window.to_seq) for window in windows]
    return [row for row in rows if not any(first <= row.seq <= last for first, last in spans)]
