"""The home directory of one machine's Trimtab: who owns it, and where its running parts can be found."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trimtab.errors import HomeInUse

_LOCK = "up.lock"
_RUNNING = "up.json"


@dataclass(frozen=True, kw_only=True)
class Running:
    """A supervisor that is up: its process, where its API answers, since when (epoch seconds), its parts' processes."""

    pid: int
    url: str
    started_at: float
    parts: dict[str, int] = field(default_factory=dict)


@contextmanager
def own_home(home: Path) -> Iterator[None]:
    """Own the home while the context lasts; the kernel lets go of it when the process ends, however it ends.

    Raises:
        HomeInUse: another supervisor owns it; the message names its process.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / _LOCK).open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeInUse(f"another `trimtab up` (pid {_owner(home)}) already runs on {home}") from None
        (home / _RUNNING).unlink(missing_ok=True)  # of an owner that was killed
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            (home / _RUNNING).unlink(missing_ok=True)


def announce(home: Path, running: Running) -> None:
    """Write down where the running parts are found."""
    scratch = home / f"{_RUNNING}.tmp"
    scratch.write_text(json.dumps(asdict(running)), encoding="utf-8")
    scratch.replace(home / _RUNNING)


def find_running(home: Path) -> Running | None:
    """The supervisor that owns this home now, None if none does."""
    try:
        lock = (home / _LOCK).open("r", encoding="ascii")
    except FileNotFoundError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _announced(home)
    return None


def _announced(home: Path) -> Running | None:
    try:
        running = Running(**json.loads((home / _RUNNING).read_text(encoding="utf-8")))
        os.kill(running.pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return None  # it is still starting; what is written is of an owner that was killed
    return running


def _owner(home: Path) -> str:
    return (home / _LOCK).read_text(encoding="ascii").strip() or "unknown"
