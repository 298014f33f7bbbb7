"""The demo's machine and eyes: it sees what the API says, and says why a machine does not start."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from service.client import ApiClient
from service.demo.machine import DemoFailed, Machine, free_port, init_model, start_machine
from service.demo.watch import Watcher, all_reports, look
from service.home import Running
from tests.fixtures.deployment import Deployment, RunningApi
from trimtab.drift import ArmStatistic, DriftReport, DriftState, MonitorState
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, reports
from trimtab.settings import ServerSettings, Settings


def report(number: int) -> DriftReport:
    return DriftReport(
        id=f"report-{number:04}", model="toy", version=2, created_at=1.0, first_seq=1, last_seq=number, n_window=10,
        events_seen=number, state=DriftState.OK, arms=(ArmStatistic(name="energy", statistic=0.1, threshold=0.2),),
        features=(), max_ks=0.1, alarm=False, actionable=False, calibrated=True, nearest="film", mixture={"film": 1.0},
    )  # fmt: skip


@pytest.fixture(scope="module")
def watched(shared_toy: Deployment, api: RunningApi) -> RunningApi:
    """The shared API with a state, 510 reports and a waiting job."""
    arms = (
        ArmStatistic(name="energy", statistic=0.3, threshold=0.2),
        ArmStatistic(name="ks", statistic=1, threshold=2),
    )
    state = MonitorState(
        model="toy", version=2, state=DriftState.ADAPTING, events_seen=700, alarms_total=1, arms=arms
    )
    with shared_toy.ledger.begin() as tx:
        for number in range(510):
            reports.save_report(tx, report(number))
        reports.save_state(tx, state)
        jobs.open_job(
            tx,
            "toy",
            cause={"kind": "drift"},
            domain="",
            window_from_seq=1,
            status=JobStatus.WAITING_FOR_LABELS,
        )
    return api


def test_a_view_is_what_the_api_says(watched: RunningApi) -> None:
    with ApiClient(watched.url) as client:
        view = look(client, "toy")
    assert (view.state, view.events_seen, view.alarms_total, view.champion) == ("adapting", 700, 1, 2)
    assert view.ratio == pytest.approx(1.5)
    assert view.job is not None
    assert view.job["status"] == "waiting_for_labels"
    assert not view.training


def test_every_page_of_reports_is_read_oldest_first(watched: RunningApi) -> None:
    with ApiClient(watched.url) as client:
        found = all_reports(client, "toy")
    assert [each["events_seen"] for each in found] == list(range(510))


def test_the_watcher_wakes_who_waits_and_survives_failures(watched: RunningApi) -> None:
    watcher = Watcher(watched.url, "toy")
    watcher.start()
    assert watcher.wait_for(lambda view: view.champion == 2, 10.0)
    assert not watcher.wait_for(lambda view: view.champion == 3, 0.01)
    watcher.stop()
    assert watcher.failures == []
    lost = Watcher("http://127.0.0.1:9", "toy")
    lost.start()
    assert not lost.wait_for(lambda view: view.champion > 0, 1.0)
    lost.stop()
    assert "ConnectError" in lost.failures[0]


def test_a_machine_that_does_not_start_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(home=tmp_path, server=ServerSettings(port=taken.getsockname()[1]))
        with pytest.raises(DemoFailed, match=r"(?s)did not start:.*TRIMTAB_SERVER__PORT"):
            start_machine(settings)


def test_an_init_that_fails_ends_the_demo(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="exit code 2"):
        init_model(Settings(home=tmp_path), "m", base=tmp_path, data=tmp_path / "absent.csv", max_train=16)


def test_what_still_runs_is_named() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    running = Running(pid=1, url="", started_at=0.0, parts={"api": os.getpid(), "worker": ended.pid})
    assert Machine(ended, running).left_over() == ["api"]


def test_a_free_port_is_free() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass
