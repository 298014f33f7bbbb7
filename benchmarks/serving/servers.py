"""Every server of the comparison as a process: started on given processors, asked until it answers rightly, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.serving.dialects import DIALECTS, LABELS
from benchmarks.serving.environments import python_of
from benchmarks.serving.load import Connection
from benchmarks.serving.peers.classifier import MAX_TOKENS, Classifier
from benchmarks.serving.processes import on_cpus, tree_of
from service.children import start_child, stop_child

ROOT = Path(__file__).parents[2]
START_S = 120.0
CLOSE_ENOUGH = 1e-3
PROBES = (
    "A film that nobody needs, and that everybody will enjoy.",
    "broken after two days",
    "the ministry said on Thursday that prices had risen by 3.5 percent, which is less than was expected",
    ":)",
)

# One compute thread each, waiting passively; nobody calls home.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": str(ROOT),
    "BENTOML_DO_NOT_TRACK": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class ServerFailed(Exception):
    """A server that does not start or does not answer rightly; the message says how it ended."""


@dataclass(frozen=True)
class Server:
    """A running server: its name in DIALECTS, its port and the processes whose trees are its cost."""

    name: str
    port: int
    processes: tuple[subprocess.Popen[bytes], ...]

    @property
    def roots(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self.processes)

    @property
    def may_sleep(self) -> bool:
        """Whether it can be stopped and continued: Ray takes a process that stands still for a dead one."""
        return self.name != "ray"

    def stop(self) -> None:
        """Ends it with everything that it started."""
        left = tree_of(self.roots)
        for process in self.processes:
            stop_child(process, grace_s=10.0)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def start_peer(
    name: str, *, environments: Path, checkpoint: Path, folder: Path, cpus: Iterable[int]
) -> Server:
    """A peer that answers as transformers does on the checkpoint.

    Raises:
        PeerMissing: it cannot be installed.
        ServerFailed: it does not start or answers otherwise.
    """
    python = python_of(name, environments)
    served = classification_checkpoint(checkpoint, folder / "infinity") if name == "infinity" else checkpoint
    expected = classified(served) if name == "infinity" else Classifier(served)(PROBES)
    port, log = free_port(), folder / f"{name}.log"
    log.unlink(missing_ok=True)
    argv = [str(python), *arguments_of(name, served, port, folder)]
    environment = {**os.environ, **ENVIRONMENT, "BENCH_CHECKPOINT": str(served)}
    with on_cpus(cpus):
        process = start_child(argv, log=log, environment=environment, death_signal=signal.SIGKILL)
    return ready(Server(name, port, (process,)), log, expected)


def arguments_of(name: str, checkpoint: Path, port: int, folder: Path) -> list[str]:
    """What the interpreter of a peer is started with."""
    module = f"benchmarks.serving.peers.{'litserve_server' if name == 'litserve' else name}"
    infinity = (
        f"v2 --engine torch --device cpu --dtype float32 --batch-size 32 --host 127.0.0.1 --port {port}"
    )
    commands = {
        "plain": ["-m", module, str(checkpoint), str(port)],
        "litserve": ["-m", module, str(checkpoint), str(port)],
        "ray": ["-m", "benchmarks.serving.peers.ray_app", str(checkpoint), str(port)],
        "bentoml": [
            "-m", "bentoml", "serve", "benchmarks.serving.peers.bentoml_service:Service",
            "--host", "127.0.0.1", "--port", str(port),
        ],
        "infinity": [
            "-c", "from infinity_emb.cli import cli; cli()", *infinity.split(), "--no-bettertransformer",
            "--no-model-warmup", "--model-id", str(checkpoint), "--served-model-name", "bench",
        ],
        "mlserver": ["-m", "mlserver.cli.main", "start", str(mlserver_folder(folder / "mlserver", port))],
    }  # fmt: skip
    return commands[name]


def mlserver_folder(folder: Path, port: int) -> Path:
    """MLServer's settings: adaptive batching up to 32 requests and 3 ms, its default of one inference worker."""
    (folder / "metrics").mkdir(parents=True, exist_ok=True)  # else it makes .metrics where it was started
    settings = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(),
        "parallel_workers": 1, "debug": False, "metrics_dir": str(folder / "metrics"),
    }  # fmt: skip
    model = {
        "name": "bench",
        "implementation": "benchmarks.serving.peers.mlserver_runtime.Runtime",
        "max_batch_size": 32,
        "max_batch_time": 0.003,
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    return folder


def classification_checkpoint(checkpoint: Path, folder: Path) -> Path:
    """The same encoder below BERT's own classification head.

    Infinity's endpoint for classification knows no mean pooling: the compute is the same, the numbers are others.
    """
    names = dict(enumerate(LABELS))
    numbers = {label: i for i, label in names.items()}
    model = AutoModelForSequenceClassification.from_pretrained(
        str(checkpoint), id2label=names, label2id=numbers
    )
    torch.manual_seed(0)
    torch.nn.init.normal_(model.classifier.weight, std=0.5)
    torch.nn.init.zeros_(model.classifier.bias)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(checkpoint)).save_pretrained(folder)
    return folder


def classified(checkpoint: Path) -> list[list[float]]:
    """The probabilities that transformers finds for the probes with a classification checkpoint."""
    model = AutoModelForSequenceClassification.from_pretrained(str(checkpoint)).eval()
    tokens = AutoTokenizer.from_pretrained(str(checkpoint))(
        list(PROBES), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    )
    with torch.inference_mode():
        scores: list[list[float]] = model(**tokens).logits.softmax(dim=1).tolist()
    return scores


def ready(server: Server, log: Path, expected: Sequence[Sequence[float]]) -> Server:
    """The server, once it answers; it is stopped when it does not, or not as expected. Raises ServerFailed."""
    try:
        found = [wait_for_answer(server, log), *(asyncio.run(ask(server, text)) for text in PROBES[1:])]
        difference = float(np.abs(np.subtract(found, expected)).max())
        if difference > CLOSE_ENOUGH:
            raise ServerFailed(f"{server.name} answers otherwise than transformers, by {difference:.1e}")
    except BaseException:
        server.stop()
        raise
    return server


def wait_for_answer(server: Server, log: Path) -> list[float]:
    """The answer to the first probe, as soon as there is one. Raises ServerFailed."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            return asyncio.run(ask(server, PROBES[0]))
        except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
            ended = any(process.poll() is not None for process in server.processes)
            if ended or time.monotonic() > deadline:
                raise ServerFailed(f"{server.name} does not answer ({error!r}); {_end_of(log)}") from None
        time.sleep(0.25)


async def ask(server: Server, text: str) -> list[float]:
    """The probabilities that a server answers for a text. Raises ValueError with the status when it refuses."""
    dialect = DIALECTS[server.name]
    connection = await Connection.open(server.port)
    try:
        async with asyncio.timeout(60):
            status, _, body = await connection.exchange(dialect.request(text))
    finally:
        connection.close()
    if status != 200:
        raise ValueError(f"status {status}: {body[:200]!r}")
    return dialect.scores(json.loads(body))


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return "its log ends: " + " | ".join(lines[-5:])
