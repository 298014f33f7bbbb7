"""Forgetting on demand: a prediction, a request or a client goes from everything in the ledger that holds its texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select, tuple_

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
    by_role = _forget_examples(tx, kind, name)
    theirs = select(predictions.c.seq).where(
        _named(predictions.c.prediction_id, predictions.c.client, kind, name)
    )
    said = or_(feedback.c.seq.in_(theirs), _named(feedback.c.prediction_id, feedback.c.client, kind, name))
    asked = tx.execute(delete(requests).where(requests.c.seq.in_(theirs))).rowcount
    if kind == "client":
        asked += label_requests.forget(tx, name)
    n_labels = tx.execute(delete(feedback).where(said)).rowcount
    n = tx.execute(delete(predictions).where(predictions.c.seq.in_(theirs))).rowcount
    return Forgotten(predictions=n, feedback=n_labels, label_requests=asked, examples=by_role)


def _forget_examples(tx: Connection, kind: str, name: str) -> dict[str, int]:
    """By the text of their predictions, for another prediction may have brought the same text, and by provenance."""
    # An example's key identifies its text, a prediction's its group if it has one: so texts are compared.
    chosen = _named(predictions.c.prediction_id, predictions.c.client, kind, name)
    by_text = select(predictions.c.model, predictions.c.text).where(chosen, predictions.c.text.is_not(None))
    by_key = select(predictions.c.model, predictions.c.key).where(chosen, predictions.c.text.is_(None))
    theirs = or_(
        tuple_(examples.c.model, examples.c.text).in_(by_text),
        tuple_(examples.c.model, examples.c.key).in_(by_key),
        _named(examples.c.prediction_id, examples.c.client, kind, name),
    )
    counts = select(examples.c.role, func.count()).where(theirs).group_by(examples.c.role)
    by_role = {str(role): int(n) for role, n in tx.execute(counts)}
    tx.execute(delete(examples).where(theirs))
    judged = and_(
        examples.c.model == gate_bits.c.model, examples.c.role == "gate", examples.c.key == gate_bits.c.key
    )
    if "gate" in by_role:
        tx.execute(delete(gate_bits).where(~exists().where(judged)))
    return by_role


def _named(
    prediction_id: ColumnElement[str | None], client: ColumnElement[str | None], kind: str, name: str
) -> ColumnElement[bool]:
    """Rows of the client, of the prediction, or of an item of the request (`ID:0`, `ID:1`)."""
    if kind == "client":
        return client == name
    return or_(prediction_id == name, func.substr(prediction_id, 1, len(name) + 1) == f"{name}:")
