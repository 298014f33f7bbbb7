"""Trimtab's own server as a user starts it: `trimtab serve` on a home, and a Valkey that takes its samples."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from benchmarks.serving.processes import on_cpus
from benchmarks.serving.servers import ENVIRONMENT, Server, free_port, wait_for_answer
from service.children import start_child
from service.parts import child_environment
from service.valkey import start_valkey
from trimtab.settings import RedisSettings, Settings, runtime_dir

_LIMITS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE", "PYTHONPATH")


@contextmanager
def serving(
    settings: Settings, name: str, *, cpus: Iterable[int], extra: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A running server on a free port: the API process first, then its Valkey.

    Args:
        name: as what it stands in DIALECTS and in the report.
        extra: more environment, such as settings that differ.

    Raises:
        ServerFailed: it does not answer.
    """
    folder = settings.home.absolute()
    socket = runtime_dir(folder).with_name(f"{runtime_dir(folder).name}-{name}") / "valkey.sock"
    port = free_port()
    served = settings.model_copy(
        update={
            "redis": RedisSettings(url=f"unix://{socket}"),
            "server": settings.server.model_copy(update={"port": port}),
        }
    )
    environment = child_environment(served) | {key: ENVIRONMENT[key] for key in _LIMITS} | dict(extra or {})
    log = folder / "logs" / f"{name}.log"
    log.unlink(missing_ok=True)
    with on_cpus(cpus):
        valkey = start_valkey(socket, data=folder / f"valkey-{name}", log=folder / "logs" / "valkey.log")
        argv = [sys.executable, "-m", "service.cli", "serve"]
        api = start_child(argv, log=log, environment=environment, death_signal=signal.SIGKILL)
    server = Server(name, port, (api, valkey.process))
    try:
        wait_for_answer(server, log)
        yield server
    finally:
        server.stop()
