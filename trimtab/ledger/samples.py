"""Predictions kept for joining: blocks of samples arrive in any order and more than once, and are kept once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, exists, func, insert, select

from trimtab.ledger.batches import in_batches
from trimtab.ledger.clock import now
from trimtab.ledger.columns import indexable, storable
from trimtab.ledger.feedback import join_pending
from trimtab.ledger.schema import blocks as block_table
from trimtab.ledger.schema import feedback, prediction_counts, predictions
from trimtab.ledger.tombstones import remaining
from trimtab.ledger.upsert import insert_into
from trimtab.samples import Sample, SampleBlock
from trimtab.splits import key_of, part_of

BLOCKS_KEPT_S = 86_400.0  # block ids are kept at least a day: longer than any redelivery


@dataclass(frozen=True, kw_only=True)
class PredictionRow:
    """A prediction as it is kept.

    Attributes:
        seq: Grows by ingestion over all models; never given twice.
        text: None when retention keeps no text.
        key, part: Of the text or its group; see `trimtab.splits`.
        label, score: What was predicted.
        observed_at: Epoch seconds, by the replica's clock.
    """

    seq: int
    prediction_id: str
    model: str
    version: int
    generation: int
    text: str | None
    key: str
    part: str
    label: str
    score: float
    domain: str | None
    group: str | None
    client: str
    observed_at: float


def ingest(tx: Connection, blocks: Sequence[tuple[str, SampleBlock]], *, keep_text: bool = True) -> int:
    """Keep the samples of (stream id, block) pairs; returns how many predictions are new.

    Blocks and predictions that are kept already are skipped, and so is what was forgotten on its way here; feedback
    that came first is joined.
    """
    arrived = [sample for block in _new_blocks(tx, blocks) for sample in block.samples]
    samples = {indexable(sample.prediction_id): sample for sample in remaining(tx, arrived)}
    known = _known_ids(tx, list(samples))
    rows = [_row(sample, keep_text=keep_text) for each, sample in samples.items() if each not in known]
    for batch in in_batches(rows):
        tx.execute(insert(predictions), batch)
    _count_up(tx, rows)
    join_pending(tx, [row["prediction_id"] for row in rows])
    return len(rows)


def events_seen(tx: Connection, model: str, version: int | None = None, after_seq: int = 0) -> int:
    """How many predictions of the model (of one version) came, all or those above `after_seq`.

    Without `after_seq` this counts all that ever came; with it, those still kept.
    """
    if after_seq <= 0:
        return _ever_counted(tx, model, version)
    query = select(func.count()).where(predictions.c.model == model, predictions.c.seq > after_seq)
    if version is not None:
        query = query.where(predictions.c.version == version)
    return int(tx.execute(query).scalar_one())


def last_seq(tx: Connection, model: str | None = None) -> int:
    """The newest sequence number (of one model); 0 when there is none."""
    query = select(func.max(predictions.c.seq))
    if model is not None:
        query = query.where(predictions.c.model == model)
    return int(tx.execute(query).scalar_one() or 0)


def window_rows(
    tx: Connection, model: str, from_seq: int, limit: int, until_seq: int | None = None
) -> list[PredictionRow]:
    """The newest `limit` predictions of the model from sequence number `from_seq` on (to `until_seq`), oldest first."""
    return _rows(
        tx, model, from_seq, limit, *(() if until_seq is None else (predictions.c.seq <= until_seq,))
    )


def unlabelled_rows(tx: Connection, model: str, from_seq: int, limit: int) -> list[PredictionRow]:
    """Like `window_rows`, but only predictions without feedback."""
    return _rows(tx, model, from_seq, limit, ~exists().where(feedback.c.seq == predictions.c.seq))


def get_prediction(tx: Connection, prediction_id: str) -> PredictionRow | None:
    """The prediction of this id, if it is kept."""
    query = select(*_COLUMNS).where(predictions.c.prediction_id == indexable(prediction_id))
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _prediction(row)


def get_predictions(tx: Connection, prediction_ids: Sequence[str]) -> dict[str, PredictionRow]:
    """Those of the predictions that are still kept, by id."""
    found: dict[str, PredictionRow] = {}
    for batch in in_batches([indexable(each) for each in prediction_ids]):
        query = select(*_COLUMNS).where(predictions.c.prediction_id.in_(batch))
        found |= {row["prediction_id"]: _prediction(row) for row in tx.execute(query).mappings()}
    return found


def expire(tx: Connection, older_than_s: float, limit: int = 5_000) -> int:
    """Delete up to `limit` predictions observed longer ago, with their feedback; returns how many. Call it again.

    Feedback that nothing was joined to and block ids go as well; examples stay (`forget.forget` removes those).
    """
    moment = now(tx)
    old = select(predictions.c.seq).where(predictions.c.observed_at < moment - older_than_s).limit(limit)
    gone = tx.execute(delete(predictions).where(predictions.c.seq.in_(old))).rowcount
    tx.execute(
        delete(feedback).where(feedback.c.seq.is_(None), feedback.c.received_at < moment - older_than_s)
    )
    kept_s = max(older_than_s, BLOCKS_KEPT_S)
    tx.execute(delete(block_table).where(block_table.c.ingested_at < moment - kept_s))
    return gone


_UNREAD = ("features", "shadow_version", "shadow_label", "shadow_score")
_COLUMNS = [column for column in predictions.c if column.name not in _UNREAD]


def _new_blocks(tx: Connection, blocks: Iterable[tuple[str, SampleBlock]]) -> list[SampleBlock]:
    moment, new = now(tx), []
    for stream_id, block in blocks:
        row = {"block_id": indexable(block.block_id), "stream_id": stream_id, "replica": block.replica}
        statement = insert_into(tx, block_table).values(
            **row, n_samples=len(block.samples), ingested_at=moment
        )
        statement = statement.on_conflict_do_nothing(index_elements=["block_id"])
        if tx.execute(statement.returning(block_table.c.block_id)).one_or_none() is not None:
            new.append(block)
    return new


def _known_ids(tx: Connection, prediction_ids: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for batch in in_batches(prediction_ids):
        query = select(predictions.c.prediction_id).where(predictions.c.prediction_id.in_(batch))
        known.update(tx.execute(query).scalars())
    return known


def _row(sample: Sample, *, keep_text: bool) -> dict[str, Any]:
    text = None if sample.text is None else storable(sample.text)
    group = None if sample.group is None else storable(sample.group)
    # Without text and group nothing else tells samples apart but their id.
    key = key_of(text, group) if text is not None else key_of("", group or indexable(sample.prediction_id))
    return {
        "prediction_id": indexable(sample.prediction_id),
        "model": sample.model,
        "version": sample.version,
        "generation": sample.generation,
        "text": text if keep_text else None,
        "key": key,
        "part": part_of(key),
        "label": sample.label,
        "score": sample.score if math.isfinite(sample.score) else 0.0,  # SQLite would take NaN for NULL
        "domain": sample.domain,
        "group_key": group,
        "client": indexable(sample.client),
        "observed_at": sample.observed_at,
        "features": sample.features,
        **_shadow(sample),
    }


def _shadow(sample: Sample) -> dict[str, Any]:
    """The answer of a version on trial; one that is no answer (no probability) is left out, as if never asked."""
    version, label, score = sample.shadow or (None, None, None)
    if score is None or not math.isfinite(score):
        return {"shadow_version": None, "shadow_label": None, "shadow_score": None}
    return {"shadow_version": version, "shadow_label": label, "shadow_score": score}


def _count_up(tx: Connection, rows: Sequence[dict[str, Any]]) -> None:
    for (model, version), n in Counter((row["model"], row["version"]) for row in rows).items():
        statement = insert_into(tx, prediction_counts).values(model=model, version=version, n=n)
        counted = {"n": prediction_counts.c.n + n}
        tx.execute(statement.on_conflict_do_update(index_elements=["model", "version"], set_=counted))


def _ever_counted(tx: Connection, model: str, version: int | None) -> int:
    query = select(func.sum(prediction_counts.c.n)).where(prediction_counts.c.model == model)
    if version is not None:
        query = query.where(prediction_counts.c.version == version)
    return int(tx.execute(query).scalar_one() or 0)


def _rows(
    tx: Connection, model: str, from_seq: int, limit: int, *conditions: ColumnElement[bool]
) -> list[PredictionRow]:
    query = select(*_COLUMNS).where(predictions.c.model == model, predictions.c.seq >= from_seq, *conditions)
    rows = tx.execute(query.order_by(predictions.c.seq.desc()).limit(limit)).mappings().all()
    return [_prediction(row) for row in reversed(rows)]


def _prediction(row: RowMapping) -> PredictionRow:
    values = dict(row)
    values["group"] = values.pop("group_key")
    return PredictionRow(**values)
