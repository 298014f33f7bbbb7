from __future__ import annotations

from sqlalchemy import Connection

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.ledger import clock, samples
from trimtab.ledger.traffic import TrafficStep, traffic


def test_predictions_are_counted_by_step_and_version(tx: Connection):
    model = filled_model(tx)
    last = clock.now(tx) // 10 * 10 - 30
    rows = [sample(i, version=1 + i % 2, observed_at=last + i) for i in range(20)]
    samples.ingest(tx, [block("b", rows)])
    expected = [TrafficStep(at=last + step, version=version, n=5) for step in (0, 10) for version in (1, 2)]
    assert traffic(tx, model, 600, 10) == expected


def test_what_is_older_or_of_another_model_is_left_out(tx: Connection):
    model = filled_model(tx)
    moment = clock.now(tx)
    rows = [sample(1, observed_at=moment - 700), sample(2, model="other", observed_at=moment - 1)]
    samples.ingest(tx, [block("b", rows)])
    assert traffic(tx, model, 600, 10) == []
