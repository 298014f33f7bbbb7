"""The parts of one machine's Trimtab: how each is started, and when it is ready."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.children import start_child
from service.valkey import start_valkey
from trimtab.settings import RedisSettings, Settings, as_environment, runtime_dir

_PROBE_S = 2.0
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # only translated to an address to call


@dataclass(frozen=True)
class Part:
    """One child process: how it starts, whether the process of this id is ready, where it writes."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    ready: Callable[[int], bool]
    log: Path


def embedded_parts(settings: Settings) -> list[Part]:
    """Valkey (unless a Redis is named), API, worker and monitor, all with the same settings."""
    run = settings.home / "run"
    run.mkdir(parents=True, exist_ok=True)
    resolved = settings.model_copy(update={"redis": RedisSettings(url=settings.redis_url), "config": None})
    environment = child_environment(resolved)
    processes = [
        _process("api", ["serve"], environment, settings.home, lambda _: api_ready(settings)),
        _reporting("worker", environment, settings.home, run / "worker.ready"),
        _reporting("monitor", environment, settings.home, run / "monitor.ready"),
    ]
    return processes if settings.redis.url else [_valkey(settings), *processes]


def child_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with `settings` in place of whatever named settings before."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    return inherited | as_environment(settings)


def api_url(settings: Settings) -> str:
    """Where the API answers, for a caller on this machine."""
    host = _WILDCARDS.get(settings.server.host, settings.server.host)
    return (
        f"http://[{host}]:{settings.server.port}" if ":" in host else f"http://{host}:{settings.server.port}"
    )


def api_ready(settings: Settings) -> bool:
    """Whether the API serves every model; without any model, whether it is alive."""
    if _status(settings, "/v2/health/ready") == http.HTTPStatus.OK:
        return True
    return _status(settings, "/v2/health/live") == http.HTTPStatus.OK and not _has_models(settings)


def file_ready(path: Path, pid: int) -> bool:
    """Whether the process of this id has written the file that says so."""
    try:
        return path.read_text(encoding="ascii").strip() == str(pid)
    except OSError:
        return False


def write_ready(path: Path) -> None:
    """Say that this process is ready, to whoever waits for `file_ready`."""
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_text(f"{os.getpid()}\n", encoding="ascii")
    scratch.replace(path)


def _valkey(settings: Settings) -> Part:
    log = settings.home / "logs" / "valkey.log"
    socket = runtime_dir(settings.home) / "valkey.sock"

    def start() -> subprocess.Popen[bytes]:
        return start_valkey(socket, data=settings.home / "valkey", log=log).process

    return Part("valkey", start, lambda _: True, log)  # it starts when it answers


def _reporting(name: str, environment: Mapping[str, str], home: Path, ready_file: Path) -> Part:
    """A process that says by a file that it is ready."""
    arguments = [name, "--ready-file", str(ready_file)]
    return _process(name, arguments, environment, home, lambda pid: file_ready(ready_file, pid))


def _process(
    name: str, arguments: list[str], environment: Mapping[str, str], home: Path, ready: Callable[[int], bool]
) -> Part:
    log = home / "logs" / f"{name}.log"
    argv = [sys.executable, "-m", "service.cli", *arguments]

    def start() -> subprocess.Popen[bytes]:
        return start_child(argv, log=log, environment=environment, death_signal=signal.SIGKILL)

    return Part(name, start, ready, log)


def _status(settings: Settings, path: str) -> int | None:
    """The status of a GET, None if nobody answers."""
    host = _WILDCARDS.get(settings.server.host, settings.server.host)
    connection = http.client.HTTPConnection(host, settings.server.port, timeout=_PROBE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _has_models(settings: Settings) -> bool:
    from trimtab.ledger import Ledger
    from trimtab.ledger.models import list_models

    ledger = Ledger(settings.ledger_url)
    try:
        with ledger.read() as tx:
            return bool(list_models(tx))
    finally:
        ledger.close()
