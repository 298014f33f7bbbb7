"""Predictions as the monitor reads them: of one version, in order of sequence number, as arrays.

Rows with another number of features than the version has (a foreign or broken client) are left out everywhere, so
that they can neither stop the monitor nor shift its blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, Select, func, select

from trimtab.ledger.schema import predictions

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
