"""Rules, runbooks and Alertmanager's routes: each alert is tested, explained and told; they name only what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import trimtab.metrics
from service.routes.jobs import ALERTS
from tests.fixtures.deploy_files import ROOT
from trimtab.drift import DriftKind, DriftState

RULES_FILE = ROOT / "monitoring/prometheus/rules.yml"
UNIT_TESTS = ROOT / "tests/monitoring/prometheus/rules.test.yml"
RUNBOOKS = ROOT / "docs/runbooks"
RULES = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
# Files whose metric names must exist, beside the rules.
NAMING = [
    *sorted((ROOT / "monitoring/grafana/dashboards").glob("*.json")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "k8s").rglob("*.yaml")),
    *sorted((ROOT / "docker").glob("*.yml")),
    RULES_FILE,
    UNIT_TESTS,
]
METRIC = re.compile(r"\btrimtab(?:_[a-z0-9]+)+\b(?![-/.(])")
RECORDED = re.compile(r"\btrimtab:[a-z0-9_]+:[a-z0-9_]+\b")
NO_METRICS = {"trimtab_dashboards", "trimtab_aliases"}


def rules() -> Iterator[dict[str, Any]]:
    for group in RULES["groups"]:
        yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def known_names() -> set[str]:
    assert trimtab.metrics.MONITOR_LAG in set(REGISTRY._collector_to_names)
    names = {metric.name for metric in REGISTRY.collect()}
    return names | {f"{name}{suffix}" for name in names for suffix in ("_total", "_bucket", "_count", "_sum")}


def said(program: str, *arguments: object) -> str:
    """What a checker says; nothing when it is content."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed: tests/system/install.sh installs it")
    run = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else run.stdout + run.stderr


@pytest.mark.parametrize("file", NAMING, ids=lambda file: str(file.relative_to(ROOT)))
def test_metrics_exist(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert set(METRIC.findall(text)) - NO_METRICS - known_names() == set()
    assert set(RECORDED.findall(text)) - recorded() == set()


def test_every_recorded_series_is_used() -> None:
    used = "\n".join(file.read_text(encoding="utf-8") for file in NAMING if file != UNIT_TESTS)
    assert {name for name in recorded() if used.count(name) < 2} == set()


@pytest.mark.system
def test_prometheus_understands_the_rules() -> None:
    assert said("promtool", "check", "rules", RULES_FILE) == ""


@pytest.mark.system
def test_every_rule_does_what_its_case_says() -> None:
    assert said("promtool", "test", "rules", UNIT_TESTS) == ""


@pytest.mark.system
def test_a_case_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    text = UNIT_TESTS.read_text(encoding="utf-8").replace(
        "../../../monitoring/prometheus", str(RULES_FILE.parent)
    )
    wrong = tmp_path / "rules.test.yml"
    wrong.write_text(
        text.replace("exp_alerts: []", "exp_alerts: [{exp_labels: {model: m}}]", 1), encoding="utf-8"
    )
    assert "FAILED" in said("promtool", "test", "rules", wrong)


def cases() -> dict[str, list[bool]]:
    """Alert -> whether it fires, in each of its cases."""
    found: dict[str, list[bool]] = {}
    for test in yaml.safe_load(UNIT_TESTS.read_text(encoding="utf-8"))["tests"]:
        for case in test["alert_rule_test"]:
            found.setdefault(case["alertname"], []).append(bool(case["exp_alerts"]))
    return found


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_has_a_case_where_it_fires(name: str) -> None:
    assert any(cases()[name])


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_has_a_case_where_it_is_silent(name: str) -> None:
    assert not all(cases()[name])


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_says_how_urgent_it_is_and_where_its_page_is(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    page = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert f"\nSeverity: {rule['labels']['severity']}.\n" in page
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == ["What it means", "Look at", "Do"]


def test_every_page_is_of_an_alert_and_listed() -> None:
    pages = {file.stem for file in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == set(alerts())
    listed = re.findall(
        r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \|",
        (RUNBOOKS / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert dict(listed) == {name: rule["labels"]["severity"] for name, rule in alerts().items()}


def test_the_kinds_and_states_that_are_alerted_on_exist() -> None:
    text = RULES_FILE.read_text(encoding="utf-8")
    kinds = {kind for each in re.findall(r'\bkind=~?"([^"]+)"', text) for kind in each.split("|")}
    assert kinds == {DriftKind.COVARIATE_HARMFUL, DriftKind.CONCEPT, DriftKind.SOURCE}
    assert set(re.findall(r'\bstate="([^"]+)"', text)) == {DriftState.NEEDS_HUMAN}


def routed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker/alertmanager.yml").read_text(encoding="utf-8"))
    return found


@pytest.mark.system
def test_alertmanager_understands_its_file() -> None:
    assert said("amtool", "check-config", ROOT / "docker/alertmanager.yml") == ""


@pytest.mark.system
@pytest.mark.parametrize("name", sorted(alerts()))
def test_alerts_reach_whom_they_concern(name: str) -> None:
    """By Alertmanager's own router: pages to the pager, tickets to people, drift to the API as well."""
    severity = alerts()[name]["labels"]["severity"]
    wanted = [*(["trimtab"] if name in ALERTS else []), "pager" if severity == "page" else "people"]
    file = f"--config.file={ROOT / 'docker/alertmanager.yml'}"
    labels = [f"alertname={name}", f"severity={severity}", "model=m"]
    assert (
        said("amtool", "config", "routes", "test", file, f"--verify.receivers={','.join(wanted)}", *labels)
        == ""
    )


def test_what_hides_and_what_is_hidden_exists_and_nothing_hides_itself() -> None:
    for rule in routed()["inhibit_rules"]:
        sources = set(re.findall(r"Trimtab\w+", str(rule["source_matchers"])))
        targets = set(re.findall(r"Trimtab\w+", str(rule["target_matchers"])))
        assert sources | targets <= set(alerts())
        assert sources
        assert targets
        assert not sources & targets


def test_the_api_is_told_nothing_while_one_client_is_the_drift() -> None:
    (hidden,) = [
        set(re.findall(r"Trimtab\w+", str(rule["target_matchers"])))
        for rule in routed()["inhibit_rules"]
        if "TrimtabDriftOneSource" in str(rule["source_matchers"])
    ]
    assert hidden == set(ALERTS)
