"""`trimtab up`: Valkey, API, worker and monitor on one machine, under one supervisor.

    own the home -> migrate -> keys -> start each part -> all ready -> watch, restart what crashes -> stop in order

A part that ends before it was ready stops the start, with the end of its log; one that ends later is started again
with backoff. Parts are child processes that the kernel ends when the supervisor dies (`service.children`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.children import stop_child
from service.home import Running, announce, own_home
from service.parts import Part, api_url, embedded_parts
from trimtab.errors import SettingsError, TrimtabError
from trimtab.settings import Settings

POLL_S = 0.1
READY_S = 180.0  # a first start loads torch and the base model on a busy machine
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 30.0
STEADY_S = 60.0  # a part that ran this long starts again with the first backoff
GRACE_S = {"api": 20.0, "monitor": 10.0, "worker": 20.0, "valkey": 10.0}  # and the order of stopping

Say = Callable[[str, str], None]
"""Told about every event: the part's name, and what happened to it."""


class PartFailed(TrimtabError):
    """A part of Trimtab did not start."""


@dataclass
class _Running:
    """A part and what became of it so far."""

    part: Part
    process: subprocess.Popen[bytes]
    started_at: float
    ready: bool = False
    ever_ready: bool = False
    crashes: int = 0
    restart_at: float | None = None


def run_up(settings: Settings, say: Say, all_ready: Callable[[Running], None]) -> int:
    """Run everything until SIGINT or SIGTERM; returns the exit code 0.

    Args:
        all_ready: called once, with where everything is found.

    Raises:
        HomeInUse: another supervisor owns this home.
        SettingsError: the port is taken, or a setting does not fit the embedded mode.
        PartFailed: a part did not become ready.
    """
    settings = settings.model_copy(update={"home": settings.home.absolute()})
    stop = _stop_on_signals()
    with own_home(settings.home):
        _require_free_port(settings.server.host, settings.server.port)
        _prepare(settings, say)
        started_at = time.time()

        def tell_where() -> Running:
            url, parts = api_url(settings), supervisor.pids
            running = Running(pid=os.getpid(), url=url, started_at=started_at, parts=parts)
            announce(settings.home, running)
            return running

        supervisor = Supervisor(embedded_parts(settings), say)
        try:
            supervisor.start(stop)
            if not stop.is_set():
                all_ready(tell_where())
            supervisor.watch(stop, restarted=tell_where)
        finally:
            supervisor.stop()
    return 0


class Supervisor:
    """Owns the child processes; everything happens in the calling (main) thread."""

    def __init__(self, parts: Sequence[Part], say: Say) -> None:
        self._parts = parts
        self._say = say
        self._running: dict[str, _Running] = {}

    @property
    def pids(self) -> dict[str, int]:
        return {name: running.process.pid for name, running in self._running.items()}

    def start(self, stop: threading.Event) -> None:
        """Start every part and return when all are ready, or when `stop` is set.

        Raises:
            PartFailed: one ended, or was not ready within `READY_S` seconds.
        """
        for part in self._parts:
            self._running[part.name] = _Running(part, part.start(), time.monotonic())
            self._say(part.name, f"starting (pid {self._running[part.name].process.pid})")
        deadline = time.monotonic() + READY_S
        while not all(running.ready for running in self._running.values()) and not stop.wait(POLL_S):
            self._look_after_all()
            if time.monotonic() > deadline:
                late = [name for name, running in self._running.items() if not running.ready]
                raise PartFailed(
                    f"{', '.join(late)}: not ready after {READY_S:.0f} s: see {self._log_of(late[0])}"
                )

    def watch(self, stop: threading.Event, restarted: Callable[[], object] = lambda: None) -> None:
        """Start again what crashes, until `stop` is set; `restarted` is called when process ids have changed."""
        pids = self.pids
        while not stop.wait(POLL_S):
            self._look_after_all()
            if pids != self.pids:
                pids = self.pids
                restarted()

    def stop(self) -> None:
        """Stop every part in order: who takes requests first, who holds the data last."""
        for name, grace_s in GRACE_S.items():
            running = self._running.pop(name, None)
            if running is not None and running.process.poll() is None:
                status = stop_child(running.process, grace_s=grace_s)
                self._say(name, "stopped" if status in {0, -signal.SIGTERM} else f"stopped ({_how(status)})")

    def _look_after_all(self) -> None:
        for running in self._running.values():
            self._look_after(running)

    def _look_after(self, running: _Running) -> None:
        now = time.monotonic()
        if running.restart_at is not None:
            if now >= running.restart_at:
                self._restart(running)
        elif (status := running.process.poll()) is not None:
            self._crashed(running, status, now)
        elif not running.ready and running.part.ready(running.process.pid):
            running.ready = running.ever_ready = True
            self._say(running.part.name, f"ready after {now - running.started_at:.1f} s")

    def _crashed(self, running: _Running, status: int, now: float) -> None:
        name = running.part.name
        if not running.ever_ready:
            log = running.part.log
            raise PartFailed(f"{name} did not start ({_how(status)}); its log {log} ends:\n{_tail(log)}")
        running.crashes = 1 if now - running.started_at > STEADY_S else running.crashes + 1
        backoff_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (running.crashes - 1))
        running.ready, running.restart_at = False, now + backoff_s
        self._say(name, f"ended ({_how(status)}); starts again in {backoff_s:.0f} s, see {running.part.log}")

    def _restart(self, running: _Running) -> None:
        running.restart_at = None
        running.started_at = time.monotonic()
        try:
            running.process = running.part.start()
        except TrimtabError as error:
            backoff_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2**running.crashes)
            running.crashes, running.restart_at = running.crashes + 1, time.monotonic() + backoff_s
            self._say(running.part.name, f"did not start ({error}); again in {backoff_s:.0f} s")
        else:
            self._say(running.part.name, f"starting again (pid {running.process.pid})")

    def _log_of(self, name: str) -> Path:
        return self._running[name].part.log


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _prepare(settings: Settings, say: Say) -> None:
    """Bring the ledger up to date and make the signing keys, if this home has none."""
    from trimtab.adapter import create_keys
    from trimtab.ledger import Ledger

    ledger = Ledger(settings.ledger_url)
    try:
        ledger.migrate()
    finally:
        ledger.close()
    say("ledger", "up to date")
    if settings.signing.private_key is None and not settings.private_key_path.exists():
        create_keys(settings.private_key_path, settings.public_key_path)
        say("keys", f"created in {settings.private_key_path.parent}")


def _require_free_port(host: str, port: int) -> None:
    """Say it now and clearly, before anything is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"cannot listen on {host}:{port} ({error.strerror})"
            raise SettingsError(f"{reason}: set TRIMTAB_SERVER__HOST or TRIMTAB_SERVER__PORT") from None


def _how(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit code {status}"
    return f"killed by {signal.Signals(-status).name}"


def _tail(log: Path, n_lines: int = 8) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.strip().splitlines()[-n_lines:]) or "(empty)"
