"""Examples kept for good: replay memory, gate and selection sets, reference texts.

`Example.id` is given by the ledger (0 before). A (model, role, key) is kept once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, or_, select, update

from trimtab.ledger.batches import in_batches
from trimtab.ledger.clock import now
from trimtab.ledger.schema import examples as table
from trimtab.ledger.schema import versions
from trimtab.ledger.tombstones import without_forgotten
from trimtab.ledger.upsert import insert_into

ROLES = ("memory", "gate", "selection", "reference")
# Rows of a file that was given to one adaptation, by the part that they fall into (trimtab.ledger.given).
GIVEN_ROLES = ("given_train", "given_selection", "given_gate")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One text kept for a purpose.

    Attributes:
        id: Given by the ledger; 0 before it is stored.
        model, domain: The model, and the accepted domain the text belongs to.
        role: "memory", "gate", "selection" or "reference"; see trimtab.ledger.given and .parked for others.
        text, label: The text and its true label (None: unlabelled).
        key: `splits.key_of` the text or its group.
        logits: (k,) float32 logits of the version that stored it (for replay by logits), or None.
        version: The version with which it entered.
        job_id: The job with which it entered; None for `init`.
        probation: True until the version's watch is over; deleted when the version is rolled back.
        priority: 0 <= priority < 2**63; the memory keeps the smallest. A reference's is its place in its domain.
        source: Where the text came from, e.g. "init" or "traffic".
        prediction_id, client: The prediction whose text it is, and who sent it; None for `init`.
        label_source: "init", "human" (a label request), "feedback" or "pseudo".
        core: Place in the herded core of its domain and class, from 0; None: not in it.
        retired_by: The version for which newer labels contradicted it; None: it is replayed.
        created_at: Epoch seconds at which it was first kept; 0 before it is stored.
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
    prediction_id: str | None = None
    client: str | None = None
    label_source: str | None = None
    core: int | None = None
    retired_by: int | None = None
    created_at: float = 0.0
    id: int = 0


def add_examples(tx: Connection, examples: Iterable[Example]) -> int:
    """Keep the examples whose (model, role, key) is not kept yet; returns how many were added.

    What was forgotten meanwhile is left out: a job may have read it before. Raises ValueError for an unknown role.
    """
    added_at = now(tx)
    rows = [_row(example, added_at) for example in without_forgotten(tx, list(examples))]
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


def first_versions(tx: Connection, model: str) -> dict[str, int]:
    """The version with which each domain's references entered."""
    query = select(table.c.domain, func.min(table.c.version)).where(
        table.c.model == model, table.c.role == "reference"
    )
    return {str(domain): int(n) for domain, n in tx.execute(query.group_by(table.c.domain))}


def keys(tx: Connection, model: str, roles: Sequence[str]) -> set[str]:
    """The keys of every example of these roles: what must not be used for another purpose."""
    query = select(table.c.key).where(table.c.model == model, table.c.role.in_(list(roles)))
    return set(tx.execute(query).scalars())


def texts_of_keys(tx: Connection, model: str, wanted: Sequence[str]) -> dict[str, str]:
    """A kept text of each key that has one."""
    query = select(table.c.key, table.c.text).where(table.c.model == model, table.c.key.in_(list(wanted)))
    return {row.key: row.text for row in tx.execute(query.order_by(table.c.id.desc()))}


def memory_sizes(tx: Connection) -> dict[tuple[str, str, str], int]:
    """How many exemplars are replayed, by (model, domain, label)."""
    group = (table.c.model, table.c.domain, func.coalesce(table.c.label, ""))
    query = select(*group, func.count()).where(table.c.role == "memory", table.c.retired_by.is_(None))
    return {(model, domain, label): int(n) for model, domain, label, n in tx.execute(query.group_by(*group))}


def replace_memory(tx: Connection, model: str, examples: Iterable[Example]) -> int:
    """Make these the model's whole memory, beside what is retired; returns how many are kept."""
    active = (table.c.model == model, table.c.role == "memory", table.c.retired_by.is_(None))
    tx.execute(delete(table).where(*active))
    return add_examples(tx, (example for example in examples if example.retired_by is None))


def retire(
    tx: Connection, model: str, keys: Sequence[str], version: int = 0, roles: Sequence[str] = ("memory",)
) -> int:
    """Take examples that newer labels contradict out of use, for this version; returns how many.

    They come back when the version is rolled back, and are deleted when its watch is over.
    """
    chosen = (table.c.model == model, table.c.role.in_(list(roles)), table.c.retired_by.is_(None))
    return sum(
        tx.execute(update(table).where(*chosen, table.c.key.in_(batch)).values(retired_by=version)).rowcount
        for batch in in_batches(sorted(set(keys)))
    )


def supersede(tx: Connection, model: str, keys: Iterable[str], version: int) -> int:
    """Set exemplars aside, whose texts this version learnt with another label: that may take their place; how many.

    They come back when the version is rolled back, and are deleted when its watch is over.
    """
    chosen = (table.c.model == model, table.c.role == "memory", table.c.retired_by.is_(None))
    aside = {"role": _superseded(version), "retired_by": version}
    return sum(
        tx.execute(update(table).where(*chosen, table.c.key.in_(batch)).values(**aside)).rowcount
        for batch in in_batches(sorted(set(keys)))
    )


def demote(tx: Connection, model: str, keys: Iterable[str]) -> int:
    """Gate examples that have decided often enough are for comparing rivals from now on; returns how many.

    They are not trained on still, and the gate asks them no more.
    """
    gate = (table.c.model == model, table.c.role == "gate")
    return sum(
        tx.execute(update(table).where(*gate, table.c.key.in_(batch)).values(role="selection")).rowcount
        for batch in in_batches(sorted(set(keys)))
    )


def on_probation(tx: Connection, model: str, version: int) -> bool:
    """Whether anything that entered with this version has not been kept for good yet."""
    theirs = (*_on_probation(model), table.c.version == version)
    return tx.execute(select(table.c.id).where(*theirs).limit(1)).first() is not None


def remove_probation(tx: Connection, model: str, version: int) -> int:
    """Delete what entered with a version that was rolled back, and take back what it retired; returns how many went."""
    gone = tx.execute(delete(table).where(*_on_probation(model), table.c.version == version)).rowcount
    superseded = (table.c.model == model, table.c.role == _superseded(version))
    taken = select(table.c.key).where(table.c.model == model, table.c.role == "memory")
    tx.execute(update(table).where(*superseded, table.c.key.not_in(taken)).values(role="memory"))
    tx.execute(delete(table).where(*superseded))
    retired = (table.c.model == model, table.c.retired_by == version)
    tx.execute(update(table).where(*retired).values(retired_by=None))
    return gone


def confirm_probation(tx: Connection, model: str, version: int) -> int:
    """Keep for good what entered with a version whose watch is over; returns how many.

    A version vouches for those before it that it was made from and that were not rolled back: nobody watches them any
    more. What they retired is deleted.
    """
    line = _made_from(tx, model, version)
    tx.execute(delete(table).where(table.c.model == model, table.c.retired_by.in_(line)))
    theirs = (*_on_probation(model), table.c.version.in_(line))
    return tx.execute(update(table).where(*theirs).values(probation=False)).rowcount


def _made_from(tx: Connection, model: str, version: int) -> set[int]:
    """The version, its parent, and so on."""
    query = select(versions.c.n, versions.c.parent).where(versions.c.model == model)
    parents = {row.n: row.parent for row in tx.execute(query)}
    line, n = {version}, parents.get(version)
    while n is not None and n not in line:
        line.add(n)
        n = parents.get(n)
    return line


def expire_memory(tx: Connection, older_than_s: float, limit: int = 5_000) -> int:
    """Delete up to `limit` exemplars that were first kept longer ago; returns how many. Call it again.

    Gate, selection and reference examples stay: without them nothing can be proved about their domain. What is
    parked for a version that was held (trimtab.ledger.parked) goes, whatever it is for.
    """
    exemplar = or_(table.c.role == "memory", table.c.role.contains("@", autoescape=True))
    old = select(table.c.id).where(exemplar, table.c.created_at < now(tx) - older_than_s)
    return tx.execute(delete(table).where(table.c.id.in_(old.limit(limit)))).rowcount


def _superseded(version: int) -> str:
    """The role of what gave way to this version's exemplars."""
    return f"memory@-{version}"


def _on_probation(model: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.model == model, table.c.probation.is_(True), table.c.role.in_(ROLES)


def _count(tx: Connection) -> int:
    return int(tx.execute(select(func.count()).select_from(table)).scalar_one())


def _row(example: Example, added_at: float) -> dict[str, Any]:
    if example.role not in {*ROLES, *GIVEN_ROLES}:
        raise ValueError(f"role {example.role!r} is none of {', '.join((*ROLES, *GIVEN_ROLES))}")
    row = asdict(example) | {"created_at": example.created_at or added_at}
    del row["id"]
    return row


def _example(row: RowMapping) -> Example:
    logits = row["logits"]
    return Example(**{**row, "logits": None if logits is None else tuple(logits.tolist())})
