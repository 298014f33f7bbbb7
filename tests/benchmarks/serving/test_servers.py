"""Servers of the comparison: environments, commands, dialects; Trimtab and the plain peer started and asked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving.dialects import DIALECTS, LABELS
from benchmarks.serving.environments import REQUIREMENTS, PeerMissing, python_of
from benchmarks.serving.load import LoadProcess
from benchmarks.serving.over_http import Cell, EngineCell, Machine, measure_http
from benchmarks.serving.own_server import serving
from benchmarks.serving.peers.classifier import Classifier
from benchmarks.serving.servers import (
    PROBES,
    Server,
    ServerFailed,
    arguments_of,
    ask,
    classification_checkpoint,
    classified,
    free_port,
    mlserver_folder,
    ready,
    start_peer,
)
from benchmarks.serving.versions import Home, export, open_home
from service.children import start_child
from service.valkey import ValkeyServer
from tests.fixtures.deployment import deployment, flushed
from tests.fixtures.echo import echoing

PEERS = sorted(REQUIREMENTS)


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path, valkey: ValkeyServer
) -> Iterator[Home]:
    with deployment(tmp_path_factory.mktemp("home"), tiny_base_dir, flushed(valkey.url)) as made:
        made.create_model("bench")
        made.add_version(1, model="bench")
        yield open_home(made.settings, "bench")


@pytest.fixture(scope="module")
def checkpoint(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(home.bundles[1], tmp_path_factory.mktemp("checkpoint"))


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_request_is_whole_http(name: str) -> None:
    head, _, body = DIALECTS[name].request("grün & good").partition(b"\r\n\r\n")
    assert head.startswith(f"POST {DIALECTS[name].path} HTTP/1.1\r\n".encode())
    assert f"Content-Length: {len(body)}".encode() in head
    assert "grün & good" in json.dumps(json.loads(body), ensure_ascii=False)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("trimtab", {"predictions": [{"scores": {"positive": 0.7, "negative": 0.3}}]}),
        ("plain", {"scores": [0.3, 0.7]}),
        ("litserve", {"scores": [0.3, 0.7]}),
        ("ray", {"scores": [0.3, 0.7]}),
        ("bentoml", [[0.3, 0.7]]),
        ("mlserver", {"outputs": [{"data": [0.3, 0.7]}]}),
        ("infinity", {"data": [[{"label": "positive", "score": 0.7}, {"label": "negative", "score": 0.3}]]}),
    ],
)
def test_answers_are_read_in_the_order_of_the_labels(name: str, answer: object) -> None:
    assert DIALECTS[name].scores(answer) == [0.3, 0.7]
    assert LABELS == ("negative", "positive")


def test_every_peer_has_a_dialect_a_pin_and_a_command(tmp_path: Path) -> None:
    for name in PEERS:
        assert name in DIALECTS
        assert all("==" in requirement for requirement in REQUIREMENTS[name])
        command = arguments_of(name, tmp_path / "checkpoint", 4711, tmp_path)
        assert command[0] in {"-m", "-c"}
        assert name == "mlserver" or "4711" in command


def test_the_plain_peer_runs_in_our_own_environment(tmp_path: Path) -> None:
    assert python_of("plain", tmp_path) == Path(sys.executable)
    assert list(tmp_path.iterdir()) == []


def test_an_environment_that_is_there_is_used_and_one_of_other_pins_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "litserve"
    made.mkdir()
    (made / "installed.txt").write_text("\n".join(REQUIREMENTS["litserve"]), encoding="utf-8")
    assert python_of("litserve", tmp_path) == made / "bin" / "python"
    (made / "installed.txt").write_text("litserve==0.0.1", encoding="utf-8")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(PeerMissing, match=r"litserve==0\.2\.19 does not install"):
        python_of("litserve", tmp_path)
    assert not (made / "installed.txt").exists()


def test_mlserver_is_told_its_ports_and_its_batches(tmp_path: Path) -> None:
    folder = mlserver_folder(tmp_path / "mlserver", 4711)
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    model = json.loads((folder / "model-settings.json").read_text(encoding="utf-8"))
    assert settings["http_port"] == 4711
    assert len({settings["http_port"], settings["grpc_port"], settings["metrics_port"]}) == 3
    assert (model["max_batch_size"], model["name"]) == (32, "bench")


def test_the_checkpoint_for_infinity_has_a_head_that_tells_texts_apart(
    checkpoint: Path, tmp_path: Path
) -> None:
    scores = classified(classification_checkpoint(checkpoint, tmp_path / "infinity"))
    assert len(scores) == len(PROBES)
    assert len({round(row[0], 6) for row in scores}) == len(PROBES)


@pytest.fixture(scope="module")
def servers(home: Home, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Trimtab and the plain peer, running."""
    cpus = os.sched_getaffinity(0)
    folder = tmp_path_factory.mktemp("peers")
    with serving(home.settings, "trimtab", cpus=cpus) as own:
        plain = start_peer("plain", environments=folder, checkpoint=checkpoint, folder=folder, cpus=cpus)
        yield [own, plain]
        plain.stop()
    assert [process.poll() is not None for server in (own, plain) for process in server.processes] == [
        True
    ] * 3


@pytest.mark.slow
def test_both_answer_the_same(servers: list[Server], checkpoint: Path) -> None:
    expected = Classifier(checkpoint)(PROBES)
    for server in servers:
        for text, row in zip(PROBES, expected, strict=True):
            assert asyncio.run(ask(server, text)) == pytest.approx(row, abs=1e-5)


@pytest.mark.slow
def test_cells_of_two_servers(servers: list[Server], home: Home, tmp_path: Path) -> None:
    texts = ["a good film", "boring plot", "the price is bad", "win"]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    with LoadProcess(tmp_path / "texts.json") as load:
        found = list(
            measure_http(
                servers,
                load,
                home.bundles[1],
                texts,
                Machine.split(0),
                concurrencies=[1, 4],
                n_rounds=2,
                scale=0.1,
            )
        )
    cells = [each for each in found if isinstance(each, Cell)]
    assert {(cell.round, cell.server, cell.concurrency) for cell in cells} == {
        (number, server.name, concurrency)
        for number in (0, 1)
        for server in servers
        for concurrency in (1, 4)
    }
    assert all(cell.load.n > 0 and cell.load.failed == 0 for cell in cells)
    assert all(0 <= cell.beside_ms <= cell.cpu_ms for cell in cells)
    engine = [(each.round, each.batch) for each in found if isinstance(each, EngineCell)]
    assert engine == [(0, 1), (0, 4), (1, 1), (1, 4)]


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until it is stopped; it stands for a server whose port somebody else answers."""
    argv = [sys.executable, "-c", "import signal; print('waiting', flush=True); signal.pause()"]
    with start_child(
        argv, log=tmp_path / "log", environment=os.environ, death_signal=signal.SIGKILL
    ) as process:
        yield process
        process.kill()


def test_a_server_that_answers_otherwise_is_stopped_and_said(
    idle: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with echoing() as port, pytest.raises(ServerFailed, match="otherwise"):
        ready(Server("plain", port, (idle,)), tmp_path / "log", [[0.5, 0.5]] * len(PROBES))
    assert idle.poll() is not None


def test_a_server_that_answers_rightly_goes_on(idle: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with echoing() as port:
        server = ready(Server("plain", port, (idle,)), tmp_path / "log", [[0.25, 0.75]] * len(PROBES))
    assert (server.roots, server.may_sleep) == ((idle.pid,), True)
    assert idle.poll() is None


def test_a_server_that_does_not_start_says_how_its_log_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    argv = [sys.executable, "-c", "raise SystemExit('no model here')"]
    with start_child(argv, log=log, environment=os.environ, death_signal=signal.SIGKILL) as process:
        process.wait()
        with pytest.raises(ServerFailed, match="its log ends: no model here"):
            ready(Server("plain", free_port(), (process,)), log, [])
