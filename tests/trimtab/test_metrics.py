"""Every metric: prefix, base unit, known type, bounded labels."""

from __future__ import annotations

import pytest
from prometheus_client import Counter, Gauge, Histogram

from trimtab import metrics

ALL = {name: value for name, value in vars(metrics).items() if isinstance(value, Counter | Gauge | Histogram)}
# Labels whose values come from a fixed list, from the ledger, or from a capped set; never from a request's content.
BOUNDED = {
    "route", "code", "model", "version", "label", "reason", "digest", "outcome", "phase",
    "domain", "arm", "rank", "state", "kind", "part", "check", "result", "actor", "step", "queue",
}  # fmt: skip


@pytest.mark.parametrize("metric", ALL.values(), ids=list(ALL))
def test_names_and_labels_keep_the_rules(metric: Counter | Gauge | Histogram) -> None:
    (family,) = metric.describe()
    assert family.name.startswith("trimtab_")
    assert ":" not in family.name
    assert not family.name.endswith(("_ms", "_us", "_minutes", "_kb"))
    assert family.documentation
    if isinstance(metric, Histogram):
        assert "duration" not in family.name or family.name.endswith("_seconds")
    assert set(metric._labelnames) <= BOUNDED
