"""True labels, joined to the predictions they are about, in whatever order the two arrive.

One label is kept for each (prediction, annotator): the one observed last, so that repeats and reordered
deliveries end in the same state. `seq` is NULL while the prediction is not known yet ("pending").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Select, case, delete, exists, func, select, update

from trimtab.jobs import Extent
from trimtab.ledger.batches import in_batches
from trimtab.ledger.clock import now
from trimtab.ledger.columns import indexable, storable
from trimtab.ledger.schema import feedback, models, predictions
from trimtab.ledger.upsert import insert_into

DAY_S = 86_400.0
DECLARE = "a new class is declared with `trimtab labels add`"


@dataclass(frozen=True, kw_only=True)
class FeedbackItem:
    """One label given by one annotator; `observed_at` is epoch seconds (None: when it is recorded)."""

    prediction_id: str
    label: str
    annotator: str = ""
    observed_at: float | None = None
    client: str = ""


@dataclass(frozen=True, kw_only=True)
class FeedbackOutcome:
    """What became of the items: accepted = joined + pending; accepted + duplicates + len(rejected) = all.

    Attributes:
        accepted: Kept: new, or newer than what was kept.
        joined: Accepted, and the prediction is known.
        pending: Accepted, and waiting for the prediction.
        duplicates: Said already, or older than what is kept.
        rejected: (index of the item, reason).
        delays: (model, seconds from the prediction to its label) of what was joined.
    """

    accepted: int = 0
    joined: int = 0
    pending: int = 0
    duplicates: int = 0
    rejected: tuple[tuple[int, str], ...] = ()
    delays: tuple[tuple[str, float], ...] = field(default=(), compare=False)


@dataclass(frozen=True, kw_only=True)
class LabelledRow:
    """A prediction with its true label; `predicted` is the label that was answered."""

    seq: int
    prediction_id: str
    text: str | None
    key: str
    part: str
    label: str
    predicted: str
    version: int
    client: str
    domain: str | None
    group: str | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A labelled prediction, and whether the answer was right."""

    seq: int
    right: bool


@dataclass(frozen=True)
class _Known:
    seq: int
    model: str
    observed_at: float
    labels: frozenset[str]  # empty: the model is not in the ledger, any label is taken

    def takes(self, label: str) -> bool:
        return not self.labels or label in self.labels


@dataclass
class _Tally:
    """What is kept after each item, and what is counted on the way."""

    kept: dict[tuple[str, str], tuple[float, str]]
    left: dict[str, int] | None  # of the clients' quotas; None: no quotas
    changed: dict[tuple[str, str], FeedbackItem] = field(default_factory=dict)
    joined: int = 0
    pending: int = 0
    duplicates: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)
    delays: list[tuple[str, float]] = field(default_factory=list)


def record_feedback(
    tx: Connection, items: Sequence[FeedbackItem], *, daily_quota: int = 0
) -> FeedbackOutcome:
    """Keep labels; join them to predictions that are known, let the others wait.

    The same label by the same annotator again is a duplicate. A label that the prediction's model does not have
    is rejected (at once when the prediction is known, else when it arrives), and so is a new one of a client that
    has given `daily_quota` labels in the last 24 hours (0: any number).
    """
    moment = now(tx)
    timed = [_timed(item, moment, index) for index, item in enumerate(items)]
    known = _known_predictions(tx, [item.prediction_id for item in timed])
    left = {item.client: daily_quota - _lately(tx, item.client) for item in timed} if daily_quota else None
    tally = _Tally(kept=_kept(tx, [item.prediction_id for item in timed]), left=left)
    for index, item in enumerate(timed):
        _judge(tally, index, item, known.get(item.prediction_id), moment)
    _store(tx, tally.changed.values(), known, moment)
    return FeedbackOutcome(
        accepted=tally.joined + tally.pending,
        joined=tally.joined,
        pending=tally.pending,
        duplicates=tally.duplicates,
        rejected=tuple(tally.rejected),
        delays=tuple(tally.delays),
    )


def join_pending(tx: Connection, prediction_ids: Sequence[str]) -> int:
    """Join waiting labels to predictions that have just arrived; returns how many. Labels unknown to the model go."""
    joined = 0
    for batch in in_batches(prediction_ids):
        waits = (feedback.c.seq.is_(None), feedback.c.prediction_id.in_(batch))
        waiting = tx.execute(select(feedback.c.prediction_id, feedback.c.label).where(*waits)).all()
        known = _known_predictions(tx, [row.prediction_id for row in waiting])
        for prediction_id, label in set(map(tuple, waiting)):
            if not known[prediction_id].takes(label):
                wrong = (feedback.c.prediction_id == prediction_id, feedback.c.label == label)
                tx.execute(delete(feedback).where(*wrong))
        seq = select(predictions.c.seq).where(predictions.c.prediction_id == feedback.c.prediction_id)
        joined += tx.execute(update(feedback).where(*waits).values(seq=seq.scalar_subquery())).rowcount
    return joined


def labelled(
    tx: Connection, model: str, from_seq: int = 0, extent: Extent | None = None
) -> list[LabelledRow]:
    """Predictions of the model from `from_seq` on that have a label, oldest first; of several labels the newest.

    With an extent only what it holds. A label that its annotator has corrected since is in none: what it was before
    is not kept.
    """
    newest = newest_labels(model, from_seq, extent)
    rows = tx.execute(select(newest).where(newest.c.rank == 1).order_by(newest.c.seq)).mappings()
    return [LabelledRow(**{name: row[name] for name in LabelledRow.__dataclass_fields__}) for row in rows]


def extent_now(tx: Connection, model: str, from_seq: int) -> Extent:
    """The model's predictions from `from_seq` on and their labels, up to the newest of each that is there now."""
    theirs = (predictions.c.model == model, predictions.c.seq >= from_seq)
    until_seq = select(func.max(predictions.c.seq)).where(*theirs)
    arrived = select(func.max(feedback.c.received_at)).join_from(
        feedback, predictions, feedback.c.seq == predictions.c.seq
    )
    return Extent(
        until_seq=int(tx.execute(until_seq).scalar_one() or 0),
        labels_until=float(tx.execute(arrived.where(*theirs)).scalar_one() or 0.0),
    )


def count_pending(tx: Connection) -> int:
    """Labels that wait for their prediction."""
    return int(tx.execute(select(func.count()).where(feedback.c.seq.is_(None))).scalar_one())


def newest_labels(model: str, from_seq: int, extent: Extent | None = None) -> Any:
    """A subquery of labelled predictions from `from_seq` on; `rank` is 1 for the newest label of each."""
    order = (feedback.c.observed_at.desc(), feedback.c.label, feedback.c.annotator)
    rank = func.row_number().over(partition_by=feedback.c.seq, order_by=order).label("rank")
    columns = [
        predictions.c[name] for name in ("seq", "prediction_id", "text", "key", "part", "version", "client")
    ]
    named = [
        predictions.c.label.label("predicted"),
        predictions.c.domain,
        predictions.c.group_key.label("group"),
    ]
    query: Select[Any] = select(*columns, *named, feedback.c.label, rank)
    joined = query.join_from(predictions, feedback, feedback.c.seq == predictions.c.seq)
    found = joined.where(predictions.c.model == model, predictions.c.seq >= from_seq)
    if extent is not None:
        held = (predictions.c.seq <= extent.until_seq, feedback.c.received_at <= extent.labels_until)
        found = found.where(*held)
    return found.subquery()


def outcomes(tx: Connection, model: str, version: int, last_n: int, after_seq: int = 0) -> list[Outcome]:
    """The newest `last_n` labelled predictions of a version above `after_seq`, oldest first."""
    newest = newest_labels(model, max(_first_of_newest(tx, model, version, last_n), after_seq + 1))
    query = select(newest.c.seq, newest.c.label, newest.c.predicted)
    rows = tx.execute(
        query.where(newest.c.rank == 1, newest.c.version == version).order_by(newest.c.seq)
    ).all()
    return [Outcome(seq=int(row.seq), right=row.label == row.predicted) for row in rows]


def _first_of_newest(tx: Connection, model: str, version: int, last_n: int) -> int:
    """The oldest sequence number among the newest `last_n` labelled predictions of a version; 0 when there is none."""
    theirs = (predictions.c.model == model, predictions.c.version == version)
    has_label = exists().where(feedback.c.seq == predictions.c.seq)
    seqs = (
        select(predictions.c.seq).where(*theirs, has_label).order_by(predictions.c.seq.desc()).limit(last_n)
    )
    return int(tx.execute(select(func.min(seqs.subquery().c.seq))).scalar_one() or 0)


def _timed(item: FeedbackItem, moment: float, index: int) -> FeedbackItem:
    # Items without a time were observed in the order in which they stand.
    observed_at = moment + index * 1e-6 if item.observed_at is None else item.observed_at
    named = {
        "prediction_id": indexable(item.prediction_id),
        "annotator": indexable(item.annotator),
        "client": indexable(item.client),
    }
    return replace(item, observed_at=observed_at, label=storable(item.label), **named)


def _judge(tally: _Tally, index: int, item: FeedbackItem, known: _Known | None, moment: float) -> None:
    if known is not None and not known.takes(item.label):
        tally.rejected.append(
            (index, f"unknown label {item.label!r}: use one of {', '.join(sorted(known.labels))}; {DECLARE}")
        )
        return
    slot = (item.prediction_id, item.annotator)
    before = tally.kept.get(slot)
    now_kept = (
        item.observed_at or 0.0,
        item.label,
    )  # of two at one time the greater label: order must not matter
    newer = before is None or now_kept > before
    if before is None and not _within_quota(tally, item.client):
        tally.rejected.append((index, "this key has given as many labels as it may in 24 hours"))
        return
    if newer:
        tally.kept[slot] = now_kept
        tally.changed[slot] = item
    if not newer or (before is not None and before[1] == item.label):
        tally.duplicates += 1
    elif known is None:
        tally.pending += 1
    else:
        tally.joined += 1
        tally.delays.append((known.model, max(0.0, moment - known.observed_at)))


def _within_quota(tally: _Tally, client: str) -> bool:
    if tally.left is None:
        return True
    tally.left[client] -= 1
    return tally.left[client] >= 0


def _lately(tx: Connection, client: str) -> int:
    """Labels that a client gave in the last day."""
    query = select(func.count()).where(feedback.c.client == client, feedback.c.received_at > now(tx) - DAY_S)
    return int(tx.execute(query).scalar_one())


def _known_predictions(tx: Connection, prediction_ids: Iterable[str]) -> dict[str, _Known]:
    labels = {name: frozenset(names) for name, names in tx.execute(select(models.c.name, models.c.labels))}
    known: dict[str, _Known] = {}
    for batch in in_batches(list(set(prediction_ids))):
        columns = [predictions.c[name] for name in ("prediction_id", "seq", "model", "observed_at")]
        for row in tx.execute(select(*columns).where(predictions.c.prediction_id.in_(batch))):
            known[row.prediction_id] = _Known(
                row.seq, row.model, row.observed_at, labels.get(row.model, frozenset())
            )
    return known


def _kept(tx: Connection, prediction_ids: Iterable[str]) -> dict[tuple[str, str], tuple[float, str]]:
    kept: dict[tuple[str, str], tuple[float, str]] = {}
    for batch in in_batches(list(set(prediction_ids))):
        for row in tx.execute(select(feedback).where(feedback.c.prediction_id.in_(batch))):
            kept[row.prediction_id, row.annotator] = (row.observed_at, row.label)
    return kept


def _store(
    tx: Connection, items: Iterable[FeedbackItem], known: Mapping[str, _Known], received_at: float
) -> None:
    rows: list[dict[str, Any]] = [
        {
            "prediction_id": item.prediction_id,
            "annotator": item.annotator,
            "label": item.label,
            "observed_at": item.observed_at,
            "received_at": received_at,
            "client": item.client,
            "seq": known[item.prediction_id].seq if item.prediction_id in known else None,
        }
        for item in items
    ]
    statement = insert_into(tx, feedback)
    changed: dict[str, Any] = {
        name: statement.excluded[name] for name in ("label", "observed_at", "client", "seq")
    }
    # The same label again is no news: it was known when it first came.
    known_already = feedback.c.label == statement.excluded.label
    changed["received_at"] = case(
        (known_already, feedback.c.received_at), else_=statement.excluded.received_at
    )
    upsert = statement.on_conflict_do_update(index_elements=["prediction_id", "annotator"], set_=changed)
    for batch in in_batches(rows):
        tx.execute(upsert, batch)
