"""Several API processes on one port: each follows the ledger by itself, and together they are one in the metrics."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.valkey import ValkeyServer
from tests.fixtures.deployment import Deployment, deployment, eventually, flushed
from tests.fixtures.ports import free_port
from trimtab.ledger import replicas
from trimtab.settings import ServerSettings, as_environment

N_WORKERS = 2
N_CALLS = 30
# Processes that load torch, on a busy machine.
START_S = 150.0


@pytest.fixture
def toy(tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer) -> Iterator[Deployment]:
    server = ServerSettings(port=free_port(), poll_s=0.2, drain_s=5.0)
    with deployment(tmp_path, tiny_base_dir, flushed(valkey.url), server=server) as made:
        made.create_model()
        made.add_version(1)
        yield made


@contextmanager
def served(toy: Deployment) -> Iterator[subprocess.Popen[bytes]]:
    """`trimtab serve --workers 2`, once all of them serve."""
    argv = [sys.executable, "-m", "service.cli", "serve", "--workers", str(N_WORKERS)]
    environment = os.environ | as_environment(toy.settings)
    with (toy.settings.home / "api.log").open("wb") as log:
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
    try:
        eventually(
            lambda: generations(toy) == [1] * N_WORKERS or process.poll() is not None, "the workers", START_S
        )
        yield process
    finally:
        process.kill()
        process.wait()


def generations(toy: Deployment) -> list[int]:
    """What each replica says that it serves."""
    with toy.ledger.read() as tx:
        return [row.generations.get("toy", 0) for row in replicas.list_replicas(tx)]


def worker_pids(toy: Deployment) -> set[int]:
    with toy.ledger.read() as tx:
        return {row.pid for row in replicas.list_replicas(tx)}


def url_of(toy: Deployment, path: str) -> str:
    return f"http://127.0.0.1:{toy.settings.server.port}{path}"


def every_call_connects() -> httpx.Client:
    """A client without keep-alive: either worker may take the next call."""
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)


def predict(toy: Deployment, n: int) -> list[int]:
    """Versions that answered n calls, each on a connection of its own, so that both workers get some."""
    with every_call_connects() as client:
        answers = [client.post(url_of(toy, "/v1/predict"), json={"inputs": "a good film"}) for _ in range(n)]
    assert [answer.status_code for answer in answers] == [200] * n
    return [answer.json()["model_version"] for answer in answers]


def total(toy: Deployment, series: str) -> float:
    """Sum over all label values of the series that start so."""
    with every_call_connects() as client:
        text = client.get(url_of(toy, "/metrics")).text
    assert "pid=" not in text
    return sum(float(value) for value in re.findall(rf"^{re.escape(series)}.* (\S+)$", text, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_workers_follow_one_is_replaced_and_together_they_add_up(toy: Deployment) -> None:
    """One story, because two processes that load a model take their time."""
    with served(toy) as process:
        assert set(predict(toy, N_CALLS)) == {1}
        for _ in range(4):  # whoever is asked
            assert total(toy, "trimtab_predictions_total{") == N_CALLS
            assert total(toy, 'trimtab_requests_total{code="200",route="/v1/predict"}') == N_CALLS
            assert total(toy, 'trimtab_request_duration_seconds_count{route="/v1/predict"}') == N_CALLS
        assert total(toy, "trimtab_observed_generation{") == 1
        assert total(toy, "trimtab_serving_version_info{") == N_WORKERS

        killed = min(worker_pids(toy))
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: len(worker_pids(toy) - {killed}) == N_WORKERS, "another worker", START_S)
        assert total(toy, "trimtab_predictions_total{") == N_CALLS
        assert total(toy, "trimtab_serving_version_info{") == N_WORKERS

        toy.add_version(2)
        eventually(lambda: sorted(generations(toy))[-N_WORKERS:] == [2] * N_WORKERS, "the swap everywhere")
        assert set(predict(toy, N_CALLS)) == {2}
        assert total(toy, "trimtab_predictions_total{") == 2 * N_CALLS
        assert total(toy, "trimtab_observed_generation{") == 2
        assert total(toy, 'trimtab_swaps_total{model="toy",outcome="activated"}') == 2 * N_WORKERS + 1

        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert worker_pids(toy) == {killed}  # it could not say goodbye; its row expires
