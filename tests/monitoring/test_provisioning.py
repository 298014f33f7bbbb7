"""Alert rules and the dashboard name only metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import monitoring
import trimtab.metrics
from trimtab.drift import DriftKind

ROOT = Path(monitoring.__file__).parent
RULES = yaml.safe_load((ROOT / "prometheus" / "rules.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((ROOT / "grafana" / "dashboards" / "trimtab.json").read_text(encoding="utf-8"))


def rules() -> Iterator[dict[str, Any]]:
    for group in RULES["groups"]:
        yield from group["rules"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def known_names() -> set[str]:
    assert trimtab.metrics.MONITOR_LAG in set(REGISTRY._collector_to_names)
    names = {metric.name for metric in REGISTRY.collect()}
    return names | {f"{name}{suffix}" for name in names for suffix in ("_total", "_bucket", "_count", "_sum")}


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_metrics_exist(expression: str) -> None:
    named = set(re.findall(r"trimtab_\w+", expression))
    assert named
    assert named <= known_names()


def test_drift_is_alerted_on_the_ratio() -> None:
    alerts = {rule["alert"]: rule for rule in rules()}
    assert alerts["TrimtabDriftDetected"]["expr"].endswith(
        "(trimtab_drift_statistic / trimtab_drift_threshold) > 1"
    )
    assert all({"severity"} <= rule["labels"].keys() for rule in alerts.values())


def test_the_kinds_that_are_alerted_on_exist() -> None:
    named = re.findall(r'kind=~?"([^"]+)"', " ".join(expressions()))
    kinds = {kind for each in named for kind in each.split("|")}
    assert kinds == {DriftKind.COVARIATE_HARMFUL, DriftKind.CONCEPT, DriftKind.SOURCE}


def test_the_dashboard_has_a_row_for_the_service_and_one_for_drift() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Service", "Drift"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
