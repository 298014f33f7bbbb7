"""Labels that gate sets ask for, without a job: which are wanted still, and which have come."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, exists, func, select

from trimtab.ledger.feedback import newest_labels
from trimtab.ledger.label_requests import RequestState
from trimtab.ledger.schema import examples
from trimtab.ledger.schema import label_requests as table


@dataclass(frozen=True, kw_only=True)
class GateAnswer:
    """A label that this domain's gate set asked for: the text, what `version` had answered, and who had sent it.

    settled_at: Epoch seconds by the database's clock.
    """

    domain: str
    key: str
    text: str
    label: str
    predicted: str
    version: int
    prediction_id: str
    client: str
    settled_at: float


def open_by_gate_set(tx: Connection, model: str) -> dict[str, int]:
    """How many requests of each domain's gate set are open."""
    theirs = (
        table.c.model == model,
        table.c.gate_set.is_not(None),
        table.c.state == RequestState.OPEN,
    )
    query = select(table.c.gate_set, func.count()).where(*theirs).group_by(table.c.gate_set)
    return {str(domain): int(n) for domain, n in tx.execute(query)}


def drop_orphans(tx: Connection, model: str) -> int:
    """Delete the requests of gate sets that are gone, as those of a version that was stepped back from; how many."""
    kept = exists().where(
        examples.c.model == model, examples.c.role == "gate", examples.c.domain == table.c.gate_set
    )
    orphans = (table.c.model == model, table.c.gate_set.is_not(None), ~kept)
    return tx.execute(delete(table).where(*orphans)).rowcount


def keys_asked(tx: Connection, model: str) -> set[str]:
    """Keys of all texts of the model that a job or a gate set asked for."""
    return set(tx.execute(select(table.c.key).where(table.c.model == model)).scalars())


def answers(tx: Connection, model: str) -> list[GateAnswer]:
    """Answers to the gate sets' requests whose texts serve no purpose yet, in order of their predictions."""
    newest = newest_labels(model, 0)
    names = ("prediction_id", "text", "label", "predicted", "version", "client")
    columns = [
        *(newest.c[name] for name in names),
        table.c.key,
        table.c.gate_set.label("domain"),
        table.c.settled_at,
    ]
    query = select(*columns).join_from(table, newest, and_(newest.c.seq == table.c.seq, newest.c.rank == 1))
    parked = examples.c.role.contains("@", autoescape=True)
    kept = exists().where(examples.c.model == model, examples.c.key == table.c.key, ~parked)
    wanted = (
        table.c.model == model,
        table.c.gate_set.is_not(None),
        table.c.state == RequestState.ANSWERED,
        newest.c.text.is_not(None),
        ~kept,
    )
    rows = tx.execute(query.where(*wanted).order_by(table.c.seq)).mappings()
    return [GateAnswer(**row) for row in rows]
