"""Child processes that do not outlive their parent, not even after `kill -9`.

On Linux the kernel sends the child a signal when the *thread* that started it ends (`prctl(PR_SET_PDEATHSIG)`), so
children are started from the main thread. Elsewhere only an orderly stop ends them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start_child(
    argv: Sequence[str], *, log: Path, environment: Mapping[str, str], death_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own (Ctrl-C reaches the parent alone), its output appended to `log`.

    Args:
        environment: the whole environment of the child.
        death_signal: what the kernel sends the child when this process dies.

    Raises:
        RuntimeError: called from a thread other than the main one, whose end would end the child.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "children are started from the main thread: the death signal is tied to the starting thread"
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_death_signal_setter(death_signal),  # noqa: PLW1509  # it takes no lock
        )


def die_with_parent(death_signal: signal.Signals, parent: int) -> None:
    """The same from within: the kernel sends this process the signal when its parent dies; it is called early."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def is_alive(pid: int) -> bool:
    """Whether the process runs, whoever's it is; one that ended and was not waited for yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _death_signal_setter(death_signal: signal.Signals) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    # Looked up before the fork: the child must not take locks.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def set_death_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent died between fork and prctl
            os._exit(1)

    return set_death_signal


def stop_child(process: subprocess.Popen[bytes], *, grace_s: float) -> int:
    """Ask the child to end (SIGTERM), kill its whole session after `grace_s` seconds; returns its exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            _kill_session(process)
    return process.wait()


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # it leads its session: its own children are in its group
    except ProcessLookupError:
        process.kill()


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["Z"]
