"""Forgetting on demand: a prediction, a request or a client goes from everything in the ledger that holds its texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    union,
)

from trimtab.ledger import label_requests
from trimtab.ledger.columns import indexable
from trimtab.ledger.events import record_event
from trimtab.ledger.schema import examples, feedback, gate_bits, predictions
from trimtab.ledger.schema import label_requests as requests
from trimtab.ledger.tombstones import bury


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """How many rows went: predictions, labels, label requests, and examples by role."""

    predictions: int = 0
    feedback: int = 0
    label_requests: int = 0
    examples: Mapping[str, int] = field(default_factory=dict)


def forget(
    tx: Connection, *, prediction_id: str | None = None, client: str | None = None, actor: str = "operator"
) -> Forgotten:
    """Delete a prediction (by a request's id: all of its items) or all that a client sent or said.

    With a prediction go its labels and label requests, and every example with its text, in whatever role; examples
    whose prediction retention took already are found by where they came from. What is still under way is left out
    when it arrives (`tombstones`). Again is no error and finds nothing. The event names neither id nor client.

    Raises ValueError unless exactly one of the two is named.
    """
    if (prediction_id is None) == (client is None):
        raise ValueError("name either a prediction id or a client")
    kind, name = ("client", client or "") if prediction_id is None else ("prediction", prediction_id)
    gone = _forget(tx, kind, indexable(name))
    bury(tx, kind, indexable(name))
    record_event(tx, "samples_forgotten", None, {"by": kind, **asdict(gone)}, actor)
    return gone


def _forget(tx: Connection, kind: str, name: str) -> Forgotten:
    names = [name] if kind == "client" else _items(tx, name)
    by_role = _forget_examples(tx, kind, names)
    theirs = select(predictions.c.seq).where(_named(predictions, kind, names))
    asked = tx.execute(delete(requests).where(requests.c.seq.in_(theirs))).rowcount
    if kind == "client":
        asked += label_requests.forget(tx, name)
    said = or_(feedback.c.seq.in_(theirs), _named(feedback, kind, names))
    n_labels = tx.execute(delete(feedback).where(said)).rowcount
    n = tx.execute(delete(predictions).where(_named(predictions, kind, names))).rowcount
    return Forgotten(predictions=n, feedback=n_labels, label_requests=asked, examples=by_role)


def _forget_examples(tx: Connection, kind: str, names: Sequence[str]) -> dict[str, int]:
    """By the text of their predictions, for another prediction may have brought the same text, and by provenance."""
    # An example's key identifies its text, a prediction's its group if it has one: so texts are compared.
    chosen = _named(predictions, kind, names)
    by_text = select(predictions.c.model, predictions.c.text).where(chosen, predictions.c.text.is_not(None))
    by_key = select(predictions.c.model, predictions.c.key).where(chosen, predictions.c.text.is_(None))
    theirs = or_(
        tuple_(examples.c.model, examples.c.text).in_(by_text),
        tuple_(examples.c.model, examples.c.key).in_(by_key),
        _named(examples, kind, names),
    )
    roles = tx.execute(delete(examples).where(theirs).returning(examples.c.role)).scalars()
    by_role = Counter(role.partition("@")[0] for role in roles)  # parked or not
    judged = and_(
        examples.c.model == gate_bits.c.model, examples.c.role == "gate", examples.c.key == gate_bits.c.key
    )
    if "gate" in by_role:
        tx.execute(delete(gate_bits).where(~exists().where(judged)))
    return dict(by_role)


def _items(tx: Connection, name: str) -> list[str]:
    """The id itself, and where it is a request's those of its items (`ID:0`, `ID:1`)."""
    if ":" in name:
        return [name]
    columns = [table.c.prediction_id for table in (predictions, feedback, examples)]
    found = union(
        *(select(each).where(func.substr(each, 1, len(name) + 1) == f"{name}:") for each in columns)
    )
    return [name, *tx.execute(found).scalars()]


def _named(table: Table, kind: str, names: Sequence[str]) -> ColumnElement[bool]:
    column = table.c.client if kind == "client" else table.c.prediction_id
    return column.in_(names)
