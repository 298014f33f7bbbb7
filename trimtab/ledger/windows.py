"""Predictions as the monitor reads them: of one version, in order of sequence number, as arrays.

Rows with another number of features than the version has (a foreign or broken client) are left out everywhere, so
that they can neither stop the monitor nor shift its blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, Select, exists, func, select

from trimtab.ledger.schema import feedback, predictions
from trimtab.splits import key_of

BYTES = 4  # of a float32

_COLUMNS = [
    predictions.c[name]
    for name in ("seq", "features", "prediction_id", "label", "client", "domain", "observed_at")
]


@dataclass(frozen=True, kw_only=True)
class PredictionWindow:
    """n predictions of one version, oldest first.

    seqs: int64 (n,). features: float32 (n, d). labels: what was answered. observed_at: epoch seconds, by the
    replica's clock.
    """

    seqs: NDArray[np.int64]
    features: NDArray[np.float32]
    prediction_ids: tuple[str, ...]
    labels: tuple[str, ...]
    clients: tuple[str, ...]
    domains: tuple[str | None, ...]
    observed_at: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.prediction_ids)

    def cut(self, start: int, stop: int) -> PredictionWindow:
        """The predictions numbered start to stop - 1 of this window."""
        part = slice(start, stop)
        return PredictionWindow(
            seqs=self.seqs[part],
            features=self.features[part],
            prediction_ids=self.prediction_ids[part],
            labels=self.labels[part],
            clients=self.clients[part],
            domains=self.domains[part],
            observed_at=self.observed_at[part],
        )


@dataclass(frozen=True, kw_only=True)
class WindowText:
    """A text of the traffic without itself: what is needed to decide whether to ask for its label.

    key: Of the text alone. part: Of the split, by the text or its group. features: float32 (d,). labelled: Whether
    any occurrence has a label. domain: As its client named it. disputed: Whether occurrences were answered
    differently, or a version on trial would have answered otherwise.
    """

    seq: int
    key: str
    part: str
    label: str
    score: float
    features: NDArray[np.float32]
    labelled: bool
    domain: str | None = None
    disputed: bool = False

    def after(self, earlier: WindowText) -> WindowText:
        """This occurrence, with what an earlier one of the same text says."""
        disputed = self.disputed or earlier.disputed or self.label != earlier.label
        return replace(self, labelled=self.labelled or earlier.labelled, disputed=disputed)


def window_texts(tx: Connection, model: str, from_seq: int, limit: int) -> list[WindowText]:
    """The newest `limit` predictions of the model from `from_seq` on whose text is kept, oldest first."""
    labelled = exists().where(feedback.c.seq == predictions.c.seq).label("labelled")
    unseen = func.coalesce(predictions.c.shadow_label, predictions.c.label)
    disputed = (unseen != predictions.c.label).label("disputed")
    names = ("seq", "text", "part", "label", "score", "domain", "features")
    query = select(*(predictions.c[name] for name in names), labelled, disputed).where(
        predictions.c.model == model, predictions.c.seq >= from_seq, predictions.c.text.is_not(None)
    )
    rows = tx.execute(query.order_by(predictions.c.seq.desc()).limit(limit)).mappings().all()
    return [
        WindowText(key=key_of(row["text"]), **{name: row[name] for name in row if name != "text"})
        for row in reversed(rows)
    ]


def rows_after(
    tx: Connection, model: str, version: int, seq: int, limit: int, n_features: int
) -> PredictionWindow:
    """The oldest `limit` predictions of a version with a sequence number above `seq`."""
    query = _of(model, version, n_features).where(predictions.c.seq > seq)
    return _window(tx.execute(query.order_by(predictions.c.seq).limit(limit)).all(), n_features)


def newest_rows(
    tx: Connection, model: str, version: int, n: int, n_features: int, *, after_seq: int = 0, until_seq: int
) -> PredictionWindow:
    """The newest `n` predictions of a version with after_seq < sequence number <= until_seq."""
    query = _of(model, version, n_features).where(
        predictions.c.seq > after_seq, predictions.c.seq <= until_seq
    )
    rows = tx.execute(query.order_by(predictions.c.seq.desc()).limit(n)).all()
    return _window(rows[::-1], n_features)


def _of(model: str, version: int, n_features: int) -> Select[Any]:
    return select(*_COLUMNS).where(
        predictions.c.model == model,
        predictions.c.version == version,
        func.length(predictions.c.features) == BYTES * n_features,
    )


def _window(rows: Sequence[Row[Any]], n_features: int) -> PredictionWindow:
    features = [row.features for row in rows]
    return PredictionWindow(
        seqs=np.array([row.seq for row in rows], dtype=np.int64),
        features=np.stack(features) if rows else np.empty((0, n_features), np.float32),
        prediction_ids=tuple(row.prediction_id for row in rows),
        labels=tuple(row.label for row in rows),
        clients=tuple(row.client for row in rows),
        domains=tuple(row.domain for row in rows),
        observed_at=np.array([row.observed_at for row in rows], dtype=np.float64),
    )
