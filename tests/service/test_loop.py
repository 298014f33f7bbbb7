"""The loop end to end with real processes and a tiny model: drift, late labels, training, gate, swap, return, rollback.

`trimtab demo` shows the same on real text with a real model; this is what every run of the tests can afford.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import redis

from service.client import ApiClient
from service.demo.machine import free_port
from service.demo.probe import Prober, expected_scores, purity
from service.replay import DelayedFeedback, Pace, replay, send_feedback
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.ups import Up, ready_up
from tests.fixtures.workshops import small_training, toy_shop, wait_until
from trimtab.datafiles import Row
from trimtab.settings import (
    DriftSettings,
    GateSettings,
    MonitorSettings,
    PolicySettings,
    ServerSettings,
    Settings,
)

pytestmark = pytest.mark.slow
PROBES = (
    "good film",
    "bad plot",
    "cheap phone works",
    "battery broken sad",
    "great acting",
    "screen no lose",
)


@pytest.fixture
def up(tmp_path: Path, tiny_base_dir: Path) -> Iterator[Up]:
    """Everything up on a home with model `toy`, which was trained on texts about films."""
    changes: dict[str, Any] = {
        "training": small_training(),
        "gate": GateSettings(max_forgetting=0.1),
        "drift": DriftSettings(
            window=100, check_every=25, check_every_s=0.1, false_alarm_budget="1 per 100000 events"
        ),
        "policy": PolicySettings(cooldown_s=1.0),
        "monitor": MonitorSettings(tick_s=0.1),
        "server": ServerSettings(port=free_port(), poll_s=0.2),
    }
    with TemporaryDirectory(prefix="tt-") as short, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", short)
        with toy_shop(tmp_path / "home", tiny_base_dir, **dict(changes)) as toy:
            toy.create_first(toy_rows("film", 800))
        settings = Settings(home=tmp_path / "home", device="cpu", **changes)
        with ready_up(settings, tmp_path / "console") as running:
            yield running


@pytest.fixture
def client(up: Up) -> Iterator[ApiClient]:
    with ApiClient(up.running.url) as opened:
        yield opened


def send(client: ApiClient, rows: Sequence[Row], feedback: DelayedFeedback) -> None:
    sent = replay(client, "toy", rows, pace=Pace(lambda: 150.0), feedback=feedback)
    assert [one.failure for one in sent if one.answer is None] == []


def drift(client: ApiClient) -> dict[str, Any]:
    return client.call("GET", "/v1/drift/toy")


def job(client: ApiClient) -> dict[str, Any]:
    jobs: list[dict[str, Any]] = client.call("GET", "/admin/v1/jobs?model=toy")["jobs"]
    return jobs[0] if jobs else {"status": "none"}


def seen(client: ApiClient, n: int) -> bool:
    return bool(drift(client)["events_seen"] >= n)


def champion(client: ApiClient) -> int:
    return int(client.call("GET", "/v1/models")["models"][0]["champion"])


def test_the_loop(up: Up, client: ApiClient) -> None:
    labels = DelayedFeedback(client, fraction=0.8, delay_s=1.0)
    before = client.predict("toy", [PROBES[0]], scores=True, sample=False)[0]
    expected = {1: expected_scores(client, "toy", PROBES, 1)}
    prober = Prober(up.running.url, "toy", PROBES)
    prober.start()

    send(client, toy_rows("film", 400, seed=5), labels)
    wait_until(lambda: seen(client, 400), "the monitor")
    assert (drift(client)["alarms_total"], job(client)["status"]) == (0, "none")

    send(client, toy_rows("shop", 700), labels)
    wait_until(lambda: job(client)["status"] in {"waiting_for_labels", "queued", "running"}, "a job")
    assert drift(client)["alarms_total"] == 1
    assert send_feedback(labels, everything=True) == ""
    wait_until(lambda: job(client)["status"] == "promoted", "the promotion")
    wait_until(lambda: champion(client) == 2, "the swap")
    expected[2] = expected_scores(client, "toy", PROBES, 2)

    send(client, toy_rows("film", 300, seed=6), labels)
    wait_until(lambda: seen(client, 1_400), "the monitor")
    assert len(client.call("GET", "/admin/v1/jobs?model=toy")["jobs"]) == 1  # back on film: nothing to learn

    client.call("POST", "/admin/v1/models/toy/rollback", {})
    wait_until(lambda: champion(client) == 1, "the rollback")
    after = client.predict("toy", [PROBES[0]], scores=True, sample=False)[0]
    assert (after.version, after.scores) == (1, before.scores)  # bit for bit
    prober.stop()
    found = purity(prober.answers, expected)
    assert prober.failures == []
    assert (found.impure, found.unknown) == (0, 0)
    assert set(found.by_version) == {1, 2}


def test_a_job_runs_although_valkey_lost_everything(up: Up, client: ApiClient) -> None:
    """Predictions go on without Valkey; a queued job whose message was lost is told again."""
    labels = DelayedFeedback(client, fraction=1.0, delay_s=0.0)
    os.kill(up.running.parts["worker"], signal.SIGSTOP)  # nobody takes the message before it is lost
    send(client, toy_rows("shop", 600), labels)
    send_feedback(labels, everything=True)
    wait_until(lambda: job(client)["status"] == "queued", "a queued job")
    with redis.Redis.from_url(up.settings.redis_url) as raw:
        raw.flushall()
    os.kill(up.running.parts["valkey"], signal.SIGKILL)
    assert client.predict("toy", ["good film"])[0].version == 1
    os.kill(up.running.parts["worker"], signal.SIGCONT)
    wait_until(lambda: job(client)["status"] == "promoted", "the promotion")
    wait_until(lambda: champion(client) == 2, "the swap")
