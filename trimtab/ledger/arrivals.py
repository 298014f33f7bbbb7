"""Labels in the order in which they became known: what a test that is looked at all the time may go by."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, exists, func, select

from trimtab.ledger.feedback import Outcome
from trimtab.ledger.label_requests import AT_RANDOM
from trimtab.ledger.schema import feedback, label_requests, predictions


def arrived(tx: Connection, model: str, version: int, labels: Sequence[str]) -> list[Outcome]:
    """Labelled predictions of a version by the time of their newest label, which is one of these.

    Answers to requests that were not drawn at random are left out: they ask where the model is likely to be wrong.
    A corrected label counts when it was corrected.
    """
    newest = (feedback.c.observed_at.desc(), feedback.c.label, feedback.c.annotator)
    rank = func.row_number().over(partition_by=feedback.c.seq, order_by=newest).label("rank")
    right = (feedback.c.label == predictions.c.label).label("right")
    chosen = exists().where(
        label_requests.c.seq == predictions.c.seq, label_requests.c.reason.not_in(AT_RANDOM)
    )
    theirs = (predictions.c.model == model, predictions.c.version == version)
    query = select(predictions.c.seq, right, feedback.c.label.label("said"), feedback.c.received_at, rank)
    found = query.join_from(predictions, feedback, feedback.c.seq == predictions.c.seq)
    labelled = found.where(*theirs, ~chosen).subquery()
    rows = tx.execute(
        select(labelled)
        .where(labelled.c.rank == 1, labelled.c.said.in_(labels))
        .order_by(labelled.c.received_at, labelled.c.seq)
    )
    return [Outcome(seq=int(row.seq), right=bool(row.right)) for row in rows]
