"""The machine that the demo runs on: `trimtab init` and `trimtab up`, as a user starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from service.children import start_child, stop_child
from service.home import Running, find_running
from service.parts import child_environment
from trimtab.errors import TrimtabError
from trimtab.settings import Settings

START_S = 240.0
STOP_S = 60.0
_POLL_S = 0.1


class DemoFailed(TrimtabError):
    """The demo cannot go on."""


@dataclass(frozen=True)
class Machine:
    """A running `trimtab up`."""

    process: subprocess.Popen[bytes]
    running: Running

    def stop(self) -> int:
        """Stop it as Ctrl-C does; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                return self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                pass
        return stop_child(self.process, grace_s=1.0)

    def left_over(self) -> list[str]:
        """Parts that still run; empty after a stop in order."""
        return sorted(name for name, pid in self.running.parts.items() if _alive(pid))


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def init_model(settings: Settings, name: str, *, base: Path, data: Path, max_train: int) -> None:
    """`trimtab init`, its progress on this console. Raises DemoFailed."""
    argv = _trimtab("init", name, "--base", str(base), "--data", str(data), "--max-train", str(max_train))
    done = subprocess.run(argv, env=child_environment(settings), check=False)
    if done.returncode != 0:
        raise DemoFailed(f"`trimtab init` ended with exit code {done.returncode}")


def start_machine(settings: Settings) -> Machine:
    """`trimtab up`; returns when all its parts are ready. Raises DemoFailed with the end of its log."""
    log = settings.home / "logs" / "up.log"
    process = start_child(
        _trimtab("up"), log=log, environment=child_environment(settings), death_signal=signal.SIGTERM
    )
    deadline = time.monotonic() + START_S
    while (running := find_running(settings.home)) is None or running.pid != process.pid:
        if process.poll() is not None or time.monotonic() > deadline:
            stop_child(process, grace_s=STOP_S)
            end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
            raise DemoFailed(f"`trimtab up` did not start:\n{end}")
        time.sleep(_POLL_S)
    return Machine(process, running)


def _trimtab(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "service.cli", *arguments]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
