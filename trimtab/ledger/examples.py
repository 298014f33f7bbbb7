"""Examples kept for good: replay memory, gate and selection sets, reference texts.

`Example.id` is given by the ledger (0 before). A (model, role, key) is kept once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, select, update

from trimtab.ledger.clock import now
from trimtab.ledger.schema import examples as table
from trimtab.ledger.upsert import insert_into

ROLES = ("memory", "gate", "selection", "reference")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One text kept for a purpose.

    Attributes:
        id: Given by the ledger; 0 before it is stored.
        model, domain: The model, and the accepted domain the text belongs to.
        role: "memory", "gate", "selection" or "reference".
        text, label: The text and its true label (None: unlabelled).
        key: `splits.key_of` the text or its group.
        logits: (k,) float32 logits of the version that stored it (for replay by logits), or None.
        version: The version with which it entered.
        job_id: The job with which it entered; None for `init`.
        probation: True until the version's watch is over; deleted when the version is rolled back.
        priority: 0 <= priority < 2**63; the memory keeps the smallest. A reference's is its place in its domain.
        source: Where it came from, e.g. "init" or "traffic".
    """

    model: str
    domain: str
    role: str
    text: str
    key: str
    label: str | None = None
    logits: tuple[float, ...] | None = None
    version: int = 0
    job_id: str | None = None
    probation: bool = False
    priority: int = 0
    source: str = ""
    id: int = 0


def add_examples(tx: Connection, examples: Iterable[Example]) -> int:
    """Keep the examples whose (model, role, key) is not kept yet; returns how many were added.

    Raises ValueError for an unknown role.
    """
    added_at = now(tx)
    rows = [_row(example, added_at) for example in examples]
    before = _count(tx)
    if rows:
        statement = insert_into(tx, table).on_conflict_do_nothing(index_elements=["model", "role", "key"])
        tx.execute(statement, rows)
    return _count(tx) - before


def list_examples(
    tx: Connection, model: str, role: str, domain: str | None = None, include_probation: bool = True
) -> list[Example]:
    """The examples of a role, by domain, then priority, then key (an order that does not depend on arrival)."""
    query = select(table).where(table.c.model == model, table.c.role == role)
    if domain is not None:
        query = query.where(table.c.domain == domain)
    if not include_probation:
        query = query.where(table.c.probation.is_(False))
    rows = tx.execute(query.order_by(table.c.domain, table.c.priority, table.c.key)).mappings()
    return [_example(row) for row in rows]


def domains(tx: Connection, model: str, role: str) -> list[str]:
    """The domains that have examples of this role, in the order in which they entered."""
    query = select(table.c.domain).where(table.c.model == model, table.c.role == role).order_by(table.c.id)
    return list(dict.fromkeys(tx.execute(query).scalars()))


def keys(tx: Connection, model: str, roles: Sequence[str]) -> set[str]:
    """The keys of every example of these roles: what must not be used for another purpose."""
    query = select(table.c.key).where(table.c.model == model, table.c.role.in_(list(roles)))
    return set(tx.execute(query).scalars())


def texts_of_keys(tx: Connection, model: str, wanted: Sequence[str]) -> dict[str, str]:
    """A kept text of each key that has one."""
    query = select(table.c.key, table.c.text).where(table.c.model == model, table.c.key.in_(list(wanted)))
    return {row.key: row.text for row in tx.execute(query.order_by(table.c.id.desc()))}


def replace_memory(tx: Connection, model: str, examples: Iterable[Example]) -> int:
    """Make these the model's whole memory; returns how many are kept."""
    tx.execute(delete(table).where(table.c.model == model, table.c.role == "memory"))
    return add_examples(tx, examples)


def remove_probation(tx: Connection, model: str, version: int) -> int:
    """Delete what entered with a version that was rolled back; returns how many."""
    return tx.execute(delete(table).where(*_on_probation(model, version))).rowcount


def confirm_probation(tx: Connection, model: str, version: int) -> int:
    """Keep for good what entered with a version whose watch is over; returns how many."""
    return tx.execute(update(table).where(*_on_probation(model, version)).values(probation=False)).rowcount


def _on_probation(model: str, version: int) -> tuple[ColumnElement[bool], ...]:
    return table.c.model == model, table.c.version == version, table.c.probation.is_(True)


def _count(tx: Connection) -> int:
    return int(tx.execute(select(func.count()).select_from(table)).scalar_one())


def _row(example: Example, created_at: float) -> dict[str, Any]:
    if example.role not in ROLES:
        raise ValueError(f"role {example.role!r} is none of {', '.join(ROLES)}")
    row = asdict(example) | {"created_at": created_at}
    del row["id"]
    return row


def _example(row: RowMapping) -> Example:
    logits = row["logits"]
    values = {**row, "logits": None if logits is None else tuple(logits.tolist())}
    del values["created_at"]
    return Example(**values)
