"""A monitor killed at any moment and started again ends with the reports of one that was never killed, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from monitoring.monitor import tick
from monitoring.station import open_station
from tests.fixtures.references import labelled, traffic
from tests.monitoring.conftest import BLOCK, DRIFT, WINDOW, Place, calibrated, open_place, settings_in
from trimtab.drift import DriftReport
from trimtab.samples import SampleBlock
from trimtab.settings import DriftSettings, MonitorSettings, Settings, as_environment

MONITOR = """
import threading
from monitoring.monitor import run_monitor
from trimtab.settings import Settings
run_monitor(Settings(), lambda job: None, threading.Event(), lambda: None)
"""
SENT = 700
KILLS = 3
OBSERVED = DriftSettings(
    window=WINDOW,
    long_window=2 * WINDOW,
    check_every=BLOCK,
    check_every_s=1e-6,
    false_alarm_budget="1 per 100000 events",
    act_on="none",  # a job has a random id, and would be the only difference
)


def place_in(home: Path, url: str) -> Place:
    quick = MonitorSettings(tick_s=0.01, lease_s=1.0)
    place = open_place(settings_in(home, url, drift=OBSERVED, monitor=quick))
    place.add_version(1, labelled({"movie": traffic(300, 0.0, seed=1)}))
    return place


def stream(place: Place) -> list[SampleBlock]:
    """In odd portions: home, drift, home again."""
    rows = np.vstack(
        [traffic(300, 0.0, seed=2), traffic(200, DRIFT, seed=3), traffic(SENT - 500, 0.0, seed=4)]
    )
    cuts = [0, *range(37, SENT, 37), SENT]
    return [place.block(rows[start:stop]) for start, stop in pairwise(cuts)]


def told(report: DriftReport) -> DriftReport:
    return replace(report, created_at=0.0)


def start_monitor(settings: Settings) -> subprocess.Popen[bytes]:
    environment = os.environ | as_environment(settings)
    return subprocess.Popen([sys.executable, "-c", MONITOR], env=environment)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60.0
    while not what():
        assert process.poll() is None, "the monitor died by itself"
        assert time.monotonic() < end, "the monitor did not get there"


@pytest.fixture
def unbroken(tmp_path: Path, redis_client: redis.Redis, valkey: Any) -> tuple[Path, list[DriftReport]]:
    """Home and reports of a monitor that nobody disturbs."""
    place = place_in(tmp_path / "unbroken", valkey.url)
    with open_station(place.settings, place.nudged.append) as station:
        calibrated(station, place)
        for block in stream(place):
            place.stream.publish(block)
            assert tick(station)
    found = place.reports()
    place.ledger.close()
    return place.settings.home, found


def test_killed_again_and_again_it_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, unbroken: tuple[Path, list[DriftReport]], valkey: Any
) -> None:
    home, expected = unbroken
    assert len(expected) == (SENT - WINDOW) // BLOCK + 1
    assert {report.alarm for report in expected} == {True, False}
    place = place_in(tmp_path / "broken", valkey.url)
    shutil.copytree(home / "cache", place.settings.home / "cache")
    blocks = stream(place)
    for i in range(KILLS + 1):
        for block in blocks[i * len(blocks) // (KILLS + 1) : (i + 1) * len(blocks) // (KILLS + 1)]:
            place.stream.publish(block)
        last = i == KILLS
        goal = len(expected) if last else 3 + (len(expected) * i) // (KILLS + 1)
        process = start_monitor(place.settings)
        wait_for(lambda goal=goal: len(place.reports()) >= goal, process)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert [told(report) for report in place.reports()] == [told(report) for report in expected]
    assert place.n_samples() == SENT
    place.ledger.close()


def test_stopped_for_long_it_makes_the_looks_that_it_missed(
    tmp_path: Path, unbroken: tuple[Path, list[DriftReport]], valkey: Any
) -> None:
    home, expected = unbroken
    place = place_in(tmp_path / "late", valkey.url)
    shutil.copytree(home / "cache", place.settings.home / "cache")
    for block in stream(place):
        place.stream.publish(block)
    with open_station(place.settings, place.nudged.append) as station:
        while len(place.reports()) < len(expected):
            before = len(place.reports())
            assert tick(station)
            assert len(place.reports()) > before
    assert [told(report) for report in place.reports()] == [told(report) for report in expected]
    assert json.loads(place.state().to_json())["consumed_seq"] == SENT
    place.ledger.close()
