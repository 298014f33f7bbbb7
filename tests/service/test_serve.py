"""One real process: it starts, answers, logs JSON, and ends in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from service.valkey import ValkeyServer
from tests.fixtures.deployment import Deployment, deployment, eventually, flushed
from tests.fixtures.ports import free_port
from trimtab.ledger import replicas
from trimtab.settings import ServerSettings, as_environment

SERVE = "from service.serve import run_server; from trimtab.settings import read_settings; run_server(read_settings())"


def start(toy: Deployment, log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | as_environment(toy.settings)
    with log.open("wb") as output:
        return subprocess.Popen([sys.executable, "-c", SERVE], env=environment, stderr=output, stdout=output)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_a_process_serves_and_ends_in_order(
    tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer
) -> None:
    server = ServerSettings(port=free_port(), poll_s=0.05)
    with deployment(tmp_path, tiny_base_dir, flushed(valkey.url), server=server) as toy:
        toy.create_model()
        toy.add_version(1)
        log, url = tmp_path / "api.log", f"http://127.0.0.1:{server.port}"
        process = start(toy, log)
        try:
            eventually(lambda: is_ready(url) or process.poll() is not None, "readiness")
            answer = httpx.post(f"{url}/v1/predict", json={"inputs": "unspeakable"}).json()
            assert answer["model_version"] == 1
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        finally:
            process.kill()
            process.wait()
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        assert any(line.get("prediction_id") == answer["id"] and line["process"] == "api" for line in lines)
        assert "unspeakable" not in log.read_text()
        with toy.ledger.read() as tx:
            assert replicas.list_replicas(tx) == []


def test_without_its_public_key_it_does_not_start(tmp_path: Path) -> None:
    environment = os.environ | {
        "TRIMTAB_HOME": str(tmp_path / "home"),
        "TRIMTAB_SERVER__PORT": str(free_port()),
    }
    done = subprocess.run(
        [sys.executable, "-c", SERVE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "TRIMTAB_SIGNING__PUBLIC_KEY" in done.stderr


def test_what_is_under_way_is_finished_before_the_end(shared_toy: Deployment) -> None:
    """Four answers that were begun; then the server is told to stop, and every line of them still comes."""
    body = "\n".join(f'"a good film number {i}"' for i in range(400))
    path = "/v1/predict/stream?sample=false&return=embedding"
    with ExitStack() as clients:
        with shared_toy.running(drain_s=30.0) as api:
            client = clients.enter_context(httpx.Client(base_url=api.url, timeout=60))
            streams = [
                clients.enter_context(client.stream("POST", path, content=body)).iter_lines()
                for _ in range(4)
            ]
            begun = [next(lines) for lines in streams]
            rest: Iterator[list[str]] = clients.enter_context(ThreadPoolExecutor(4)).map(list, streams)
        answers = [[first, *lines] for first, lines in zip(begun, rest, strict=True)]
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{api.url}/v2/health/live")
    assert [len(lines) for lines in answers] == [400] * 4
    assert all("label" in json.loads(line) for lines in answers for line in lines)
