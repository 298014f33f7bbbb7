"""How much traffic came and who answered it, in steps of time: what the console draws."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from trimtab.ledger.clock import now
from trimtab.ledger.schema import predictions


@dataclass(frozen=True, kw_only=True)
class TrafficStep:
    """Sampled predictions of one version that were answered in [at, at + width), `at` in epoch seconds."""

    at: float
    version: int
    n: int


def rate(tx: Connection, model: str, span_s: float) -> float:
    """Sampled predictions of the model a second, over the last `span_s` seconds by the replicas' clocks."""
    recent = (predictions.c.model == model, predictions.c.observed_at >= now(tx) - span_s)
    return int(tx.execute(select(func.count()).where(*recent)).scalar_one()) / span_s


def traffic(tx: Connection, model: str, span_s: float, width_s: float) -> list[TrafficStep]:
    """Predictions of the last `span_s` seconds that the ledger keeps, by step and version, oldest first.

    Times are those of the replicas that answered. Steps without traffic are left out.
    """
    first = now(tx) - span_s
    step = func.floor(predictions.c.observed_at / width_s).label("step")
    query = (
        select(step, predictions.c.version, func.count().label("n"))
        .where(predictions.c.model == model, predictions.c.observed_at >= first)
        .group_by(step, predictions.c.version)
        .order_by(step, predictions.c.version)
    )
    return [TrafficStep(at=row.step * width_s, version=row.version, n=row.n) for row in tx.execute(query)]
