"""What was forgotten on demand, so that what is still under way does not bring it back.

A sample may wait in a replica's ring or in Redis while it is forgotten, and a worker may hold a text that it read
before. What arrives later is held against the names here, and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from sqlalchemy import Connection, delete, func, select

from trimtab.ledger.clock import now
from trimtab.ledger.columns import indexable
from trimtab.ledger.schema import forgotten, predictions
from trimtab.ledger.upsert import insert_into
from trimtab.samples import Sample

KEPT_S = 30 * 86_400.0  # longer than anything waits that is not lost
SKEW_S = 10.0  # replicas stamp samples by their own clocks


class _Sourced(Protocol):
    @property
    def prediction_id(self) -> str | None: ...

    @property
    def client(self) -> str | None: ...


T = TypeVar("T", bound=_Sourced)


def bury(tx: Connection, kind: str, name: str) -> None:
    """Remember that a "prediction" (or request) id or a "client" was forgotten now."""
    moment = now(tx)
    statement = insert_into(tx, forgotten).values(kind=kind, name=name, at=moment, expires_at=moment + KEPT_S)
    again = {"at": statement.excluded.at, "expires_at": statement.excluded.expires_at}
    tx.execute(statement.on_conflict_do_update(index_elements=["kind", "name"], set_=again))


def remaining(tx: Connection, samples: Sequence[Sample]) -> list[Sample]:
    """The samples but those of forgotten predictions, and those that a client sent before it was forgotten."""
    ids, clients = _names(tx, "prediction"), _names(tx, "client")
    return [
        sample
        for sample in samples
        if _forms(sample.prediction_id).isdisjoint(ids)
        and sample.observed_at > clients.get(indexable(sample.client), float("-inf")) + SKEW_S
    ]


def without_forgotten(tx: Connection, examples: Sequence[T]) -> list[T]:
    """The examples but those whose prediction was forgotten, by its own id or with its client."""
    ids, clients = _names(tx, "prediction"), _names(tx, "client")
    return [
        example
        for example in examples
        if _forms(example.prediction_id or "").isdisjoint(ids)
        and not (example.client in clients and _gone(tx, example.prediction_id))
    ]


def last_burial(tx: Connection) -> float:
    """Epoch seconds at which something was last forgotten; 0 when nothing was."""
    return float(tx.execute(select(func.max(forgotten.c.at))).scalar_one() or 0.0)


def expire_tombstones(tx: Connection) -> int:
    """Delete the names that were kept long enough; returns how many."""
    return tx.execute(delete(forgotten).where(forgotten.c.expires_at < now(tx))).rowcount


def _names(tx: Connection, kind: str) -> dict[str, float]:
    rows = tx.execute(select(forgotten.c.name, forgotten.c.at).where(forgotten.c.kind == kind))
    return {str(name): float(at) for name, at in rows}


def _forms(prediction_id: str) -> set[str]:
    """The id of an item, and that of its request."""
    return {indexable(prediction_id), indexable(prediction_id.rpartition(":")[0])} - {""}


def _gone(tx: Connection, prediction_id: str | None) -> bool:
    """A client may send more after it was forgotten: what is there came since."""
    query = select(predictions.c.seq).where(predictions.c.prediction_id == prediction_id)
    return tx.execute(query).one_or_none() is None
