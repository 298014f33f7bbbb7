"""Every command line of compose and Kubernetes as a real process: the first start, from an empty ledger to an answer.

Environment, paths and health checks are those of the files; volumes are folders, ports are free ones.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
import redis

from service.client import ApiClient
from service.demo.machine import free_port
from tests.fixtures.composed import Composition, Service
from tests.fixtures.deploy_files import started
from tests.fixtures.fleets import READY_S, is_ready
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import wait_until
from trimtab.ledger import Ledger, keys, versions

pytestmark = [pytest.mark.system, pytest.mark.slow]
STAYING = {"api": "serve", "worker": "worker", "monitor": "monitor"}


@dataclass(frozen=True)
class FirstStart:
    """What the services that end have left, and what they said."""

    composition: Composition
    ledger: Ledger
    said: dict[str, str]


@pytest.fixture(scope="module")
def first_start(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path, postgres: PostgresServer
) -> Iterator[FirstStart]:
    """`setup`, `scrape-key` and `demo-model`, in the order that compose keeps."""
    directory, port = tmp_path_factory.mktemp("composed"), free_port()
    url = postgres.url(postgres.create_database())
    composition = Composition(
        directory,
        changed={"DEMO_BASE": "/models/tiny"},
        hosts={"valkey": f"redis://:secret@127.0.0.1:{port}/0", "postgres": url},
    )
    shutil.copytree(tiny_base_dir, composition.folder("models") / "tiny")
    rows = [json.dumps({"text": row.text, "label": row.label}) for row in toy_rows("film", 300)]
    (composition.folder("data") / "demo.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with subprocess.Popen(composition.valkey(port), stdout=subprocess.DEVNULL) as valkey:
        try:
            wait_until(lambda: answers(port), "an answer of Valkey")
            ended = ("setup", "scrape-key", "demo-model")
            said = {name: composition.service(name).run() for name in ended}
            ledger = Ledger(url)
            yield FirstStart(composition, ledger, said)
            ledger.close()
        finally:
            valkey.terminate()


def answers(port: int) -> bool:
    try:
        with redis.Redis(port=port, password="secret") as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def champion(first: FirstStart) -> int:
    with first.ledger.read() as tx:
        return versions.get_aliases(tx, "demo")["champion"]


def test_setup_makes_the_keys_where_the_others_look(first_start: FirstStart) -> None:
    folder = first_start.composition.folder
    private, public = folder("private-key") / "signing.pem", folder("public-key") / "verify.pem"
    assert private.stat().st_mode & 0o077 == 0
    assert "PUBLIC KEY" in public.read_text(encoding="ascii")
    assert str(private) in first_start.said["setup"].replace("\n", "")


def test_the_demo_model_is_trained_and_signed(first_start: FirstStart) -> None:
    assert champion(first_start) == 1
    assert "demo: version 1 serves" in first_start.said["demo-model"]
    assert any(first_start.composition.folder("store").rglob("*.safetensors"))


def test_whoever_stays_is_healthy_and_works_together(first_start: FirstStart, tmp_path: Path) -> None:
    """API, worker and monitor: healthy by their images' checks, an answer, metrics for Prometheus, an end in order."""
    services = {name: first_start.composition.service(name) for name in STAYING}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(service.running(tmp_path / f"{name}.log"))
            for name, service in services.items()
        }
        for name, service in services.items():
            wait_until(partial(healthy_or_ended, service, processes[name]), f"health of {name}", READY_S)
        require_answers(first_start, f"http://127.0.0.1:{services['api'].port}")
    ends = {name: process.returncode for name, process in processes.items()}
    # uvicorn ends by the signal that it was stopped with, after everything else has ended in order.
    assert ends == {"api": -signal.SIGTERM, "worker": 0, "monitor": 0}
    assert "Application shutdown complete" in (tmp_path / "api.log").read_text(encoding="utf-8")


def healthy_or_ended(service: Service, process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None or service.healthy()


def require_answers(first: FirstStart, url: str) -> None:
    """A prediction for a client's key, and its count for the key of Prometheus."""
    with first.ledger.begin() as tx:
        key = keys.add_key(tx, "client", ["predict"])
    wait_until(lambda: is_ready(url), "readiness", READY_S)
    with ApiClient(url, key=key) as client:
        assert client.predict("demo", ["good film"])[0].version == 1
    token = (first.composition.folder("scrape") / "token").read_text(encoding="ascii").strip()
    metrics = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert "trimtab_predictions_total{" in metrics.text


@pytest.mark.parametrize("line", [["migrate"], ["collect"]], ids=" ".join)
def test_jobs_of_kubernetes_do_no_harm_to_what_runs(first_start: FirstStart, line: list[str]) -> None:
    first_start.composition.service("setup", line).run()
    assert champion(first_start) == 1
    assert any(first_start.composition.folder("store").rglob("*.safetensors"))


def test_no_command_line_is_left_out() -> None:
    """The files may not start what this module does not; `init` is started with a base of its own."""
    assert {line[0] for line in started()} == {*STAYING.values(), "migrate", "keys", "init", "collect"}
    assert {" ".join(line) for line in started() if line[0] in {"migrate", "collect"}} == {
        "migrate", "migrate --create-keys", "collect",
    }  # fmt: skip
