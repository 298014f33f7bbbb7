"""Alerts for real: Prometheus scrapes real processes, a drift makes its alert fire, Alertmanager calls the API, a job
opens and is promoted, the alert resolves. Then every panel's query runs on what Prometheus has seen.

The monitor only observes (`act_on = none`): what opens the job is the alert and nothing else. The files are those
that are shipped; only addresses and times are changed (tests/fixtures/alerting.py).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.client import ApiClient
from service.demo.machine import free_port
from service.replay import DelayedFeedback, Pace, replay, send_feedback
from tests.fixtures.alerting import Watchmen, running_watchmen
from tests.fixtures.deploy_files import ROOT
from tests.fixtures.deployment import flushed
from tests.fixtures.fleets import READY_S, Fleet
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import small_training, toy_shop, wait_until
from trimtab.ledger import keys
from trimtab.settings import (
    AuthSettings,
    DriftSettings,
    LedgerSettings,
    MonitorSettings,
    PolicySettings,
    ServerSettings,
    SigningSettings,
    StoreSettings,
    WorkerSettings,
)

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]
DRIFT_ALERTS = {"TrimtabDriftDetected", "TrimtabDriftHarmful"}
AT_START = {"TrimtabTargetDown"}  # until every process was scraped once, and whenever a scrape takes too long
# Panels' queries without data in a run where nothing fails, with what it takes to see some.
SILENT = {
    "trimtab_monitor_errors_total": "a step of the monitor that fails",
    "trimtab_samples_dropped_total": "Redis away, or a full ring",
}


@dataclass
class Evening:
    """What was seen, in the order in which it happened."""

    watchmen: Watchmen
    began_at: float = field(default_factory=time.time)
    ended_at: float = 0.0
    up: bool = False
    quiet: set[str] = field(default_factory=set)
    told: dict[str, list[str]] = field(default_factory=dict)
    opened: dict[str, Any] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path, valkey: Any) -> Iterator[Evening]:
    directory = tmp_path_factory.mktemp("alerting")
    targets = {
        name: f"127.0.0.1:{free_port()}" for name in ("trimtab-api", "trimtab-worker", "trimtab-monitor")
    }
    groups = settings_groups(directory, targets)
    with toy_shop(directory / "home", tiny_base_dir, flushed(valkey.url), **groups) as toy:
        toy.create_first(toy_rows("film", 800))
        with toy.ledger.begin() as tx:
            token = directory / "token"
            token.write_text(keys.add_key(tx, "prometheus", ["read", "operate"]), encoding="ascii")
            key = keys.add_key(tx, "everybody", ["predict", "feedback", "read", "operate"])
        fleet = Fleet(toy, directory, {})
        try:
            start_processes(fleet, targets)
            with (
                running_watchmen(directory, targets, token) as watchmen,
                ApiClient(f"http://{targets['trimtab-api']}", key=key) as client,
            ):
                seen = Evening(watchmen)
                quiet_hours(seen, client)
                drift_and_repair(seen, client)
                aftermath(seen, client, key, targets["trimtab-api"])
                yield seen
        finally:
            fleet.stop()


def settings_groups(directory: Path, targets: dict[str, str]) -> dict[str, Any]:
    def port(name: str) -> int:
        return int(targets[name].partition(":")[2])

    return {
        "ledger": LedgerSettings(url=f"sqlite:///{directory}/ledger.db"),
        "store": StoreSettings(url=f"file://{directory}/store"),
        "signing": SigningSettings(
            private_key=directory / "signing.pem", public_key=directory / "verify.pem"
        ),
        "server": ServerSettings(poll_s=0.2),
        "auth": AuthSettings(mode="keys"),
        "training": small_training(),
        "policy": PolicySettings(cooldown_s=3600.0),
        "drift": DriftSettings(
            window=100, check_every=25, check_every_s=0.1, false_alarm_budget="1 per 100000 events"
        ),
        "monitor": MonitorSettings(tick_s=0.1, metrics_port=port("trimtab-monitor")),
        "worker": WorkerSettings(metrics_port=port("trimtab-worker")),
    }


def start_processes(fleet: Fleet, targets: dict[str, str]) -> None:
    fleet.start("worker")
    fleet.environment = {"TRIMTAB_DRIFT__ACT_ON": "none"}
    fleet.start("monitor")
    fleet.environment = {}
    host, _, port = targets["trimtab-api"].partition(":")
    api = fleet.start("serve", (host, int(port)))
    wait_until(api.ready, "readiness of the API", READY_S)


def quiet_hours(seen: Evening, client: ApiClient) -> None:
    """Traffic as the model knows it: everything is scraped, and nothing is told."""
    watchmen = seen.watchmen
    wait_until(lambda: watchmen.value("trimtab_drift_reference_ready") == 1.0, "calibrated thresholds")
    send(client, "film", 300, seed=5)
    seen.up = wait_until(lambda: targets_up(watchmen) == 3, "all targets")
    wait_until(lambda: (watchmen.value("sum(trimtab_drift_events_total)") or 0) >= 300, "the monitor")
    wait_until(lambda: watchmen.value("trimtab:drift_ratio:max") is not None, "a look at the traffic")
    seen.quiet = watchmen.fired()


def targets_up(watchmen: Watchmen) -> float | None:
    return watchmen.value('sum(up{job=~"trimtab.*"})')


def drift_and_repair(seen: Evening, client: ApiClient) -> None:
    """Another domain: the alert, the webhook's job, its labels, the promotion, and quiet again."""
    watchmen = seen.watchmen
    labels = send(client, "shop", 700, seed=0)
    seen.told = wait_until(lambda: drift_told(watchmen), "an alert that is told")
    seen.opened = wait_until(lambda: newest_job(client), "the webhook's job")
    wait_until(lambda: watchmen.value("sum(trimtab_labels_missing)"), "a job that waits for labels")
    assert send_feedback(labels, everything=True) == ""
    ended = wait_until(lambda: ended_job(client), "the end of the job")
    assert ended["status"] == "promoted", ended["reason"]
    wait_until(lambda: watchmen.value('count(trimtab_serving_version_info{version="2"} == 1)'), "the swap")
    assert send_feedback(send(client, "shop", 300, seed=1), everything=True) == ""
    wait_until(lambda: not DRIFT_ALERTS & watchmen.firing(), "the end of the alert")
    wait_until(lambda: not DRIFT_ALERTS & set(watchmen.told()), "the end of the telling")


def aftermath(seen: Evening, client: ApiClient, key: str, api: str) -> None:
    """A request that is refused, and a rollback, which is told."""
    watchmen = seen.watchmen
    with httpx.Client(
        base_url=f"http://{api}", trust_env=False, headers={"Authorization": f"Bearer {key}"}
    ) as http:
        assert http.post("/v1/predict", content=b" " * 3_000_000).status_code == 413
    client.call("POST", "/admin/v1/models/toy/rollback", {})
    wait_until(lambda: "TrimtabRolledBack" in watchmen.told(), "word of the rollback")
    wait_until(lambda: watchmen.value("sum(trimtab_jobs_total)"), "the worker's account of the job")
    wait_until(lambda: watchmen.value("sum(rate(trimtab_rejected_total[20s]))") is not None, "the refusal")
    seen.jobs = client.call("GET", "/admin/v1/jobs?model=toy")["jobs"]
    seen.ended_at = time.time()


def send(client: ApiClient, domain: str, n: int, *, seed: int) -> DelayedFeedback:
    """Traffic; gives the labels that wait to be sent."""
    labels = DelayedFeedback(client, fraction=0.9, delay_s=600.0)
    sent = replay(client, "toy", toy_rows(domain, n, seed=seed), pace=Pace(lambda: 150.0), feedback=labels)
    assert [one.failure for one in sent if one.answer is None] == []
    return labels


def newest_job(client: ApiClient) -> Any:
    jobs = client.call("GET", "/admin/v1/jobs?model=toy")["jobs"]
    return jobs[0] if jobs else None


def ended_job(client: ApiClient) -> Any:
    job = newest_job(client)
    return job if job["finished_at"] else None


def drift_told(watchmen: Watchmen) -> dict[str, list[str]]:
    return {name: receivers for name, receivers in watchmen.told().items() if name in DRIFT_ALERTS}


def test_every_process_is_scraped_and_quiet_traffic_is_quiet(evening: Evening) -> None:
    assert evening.up
    assert evening.quiet <= AT_START


def test_the_alert_goes_to_people_and_to_the_api(evening: Evening) -> None:
    assert evening.told
    for receivers in evening.told.values():
        assert "trimtab" in receivers
        assert {"people", "pager"} & set(receivers)


def test_the_alert_opens_one_job_and_no_other(evening: Evening) -> None:
    """Told again every second while it fires: one in flight, then the cooldown, stand against a second job."""
    assert [job["id"] for job in evening.jobs] == [evening.opened["id"]]
    (job,) = evening.jobs
    assert (job["cause"]["kind"], job["status"]) == ("alert", "promoted")
    assert job["cause"]["alert"] in DRIFT_ALERTS
    assert job["cause"]["fingerprint"]


def queries() -> list[tuple[str, str]]:
    found = []
    for file in sorted((ROOT / "monitoring/grafana/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            found += [
                (f"{file.stem}: {panel['title']}", target["expr"]) for target in panel.get("targets", ())
            ]
    return found


@pytest.mark.parametrize(("panel", "query"), queries())
def test_every_panel_has_data(evening: Evening, panel: str, query: str) -> None:
    """Run as Grafana runs it over the evening, and at least one number comes back."""
    filled = query.replace("$__rate_interval", "20s").replace("$model", ".*")
    span = {"start": evening.began_at, "end": evening.ended_at + 1, "step": 1}
    series = evening.watchmen.ask("query_range", query=filled, **span)["result"]
    numbers = [float(value) for each in series for _, value in each["values"]]
    silent = any(name in query for name in SILENT)
    assert silent or any(map(math.isfinite, numbers)), f"{panel}: {filled}"


@pytest.mark.parametrize("query", sorted({q for _, q in queries() if any(name in q for name in SILENT)}))
def test_what_is_silent_names_metrics_of_these_processes(evening: Evening, query: str) -> None:
    """A failure was not staged, but the metric is there to count it."""
    (name,) = [name for name in SILENT if name in query]
    assert evening.watchmen.ask("metadata", metric=name.removesuffix("_total")) or evening.watchmen.ask(
        "metadata", metric=name
    )
