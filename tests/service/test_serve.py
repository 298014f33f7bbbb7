"""One real process: it starts, answers, logs JSON, and ends in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from service.valkey import ValkeyServer
from tests.fixtures.deployment import Deployment, deployment, eventually
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
    with deployment(tmp_path, tiny_base_dir, valkey.url, server=server) as toy:
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
