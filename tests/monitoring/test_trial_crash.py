"""A monitor that is killed in both stages of a trial: each step is made once, and the trial comes to its end."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.monitoring.conftest import settings_in
from tests.monitoring.test_crash import start_monitor, wait_for
from tests.monitoring.trial_stage import STEP, Stagehand, opened, rehearsing, same
from trimtab.jobs import JobStatus
from trimtab.ledger import events
from trimtab.settings import MonitorSettings, Settings
from trimtab.trial import Stage


@pytest.fixture
def settings(tmp_path: Path, redis_client: redis.Redis, valkey: Any) -> Settings:
    quick = MonitorSettings(tick_s=0.01, lease_s=0.5)
    return settings_in(tmp_path, valkey.url, trial=rehearsing(canary_shares=(0.25,)), monitor=quick)


def killed_when(stage: Stagehand, settings: Settings, reached: tuple[Stage, float]) -> None:
    """A new monitor, killed as soon as the trial is there."""
    process = start_monitor(settings)
    try:
        wait_for(lambda: (stage.trial.stage, stage.trial.share) == reached, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)


def test_every_step_is_made_once(settings: Settings) -> None:
    with opened(settings) as stage:
        stage.put_on_trial()
        for version, reached in ((1, (Stage.CANARY, 0.25)), (2, (Stage.PROMOTED, 0.0))):
            stage.answer(STEP, version=version, shadow=same if version == 1 else None)
            killed_when(stage, settings, reached)
        with stage.place.ledger.read() as tx:
            kinds = [each.kind for each in events.list_events(tx, limit=1000)]
        happened = [kind for kind in kinds if kind.startswith("trial_")]
        assert happened == ["trial_started", "trial_advanced", "trial_ended"]
        assert kinds.count("promoted") == 2  # version 1 at the start, and this one
        assert stage.aliases == {"champion": 2, "previous": 1}
        assert stage.job[0] is JobStatus.PROMOTED
        assert stage.memory() == 1
