"""What Linux knows of processes: CPU time of a whole tree, memory, threads; and a tree put to sleep for a while."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Stat:
    """One line of /proc/PID/stat (proc(5)): parent, and CPU seconds of the process with its reaped children."""

    pid: int
    parent: int
    cpu_s: float


def read_stat(line: str) -> Stat:
    """Reads the line; the name in parentheses may hold spaces and parentheses itself."""
    head, _, tail = line.rpartition(")")
    fields = tail.split()
    # Fields 14 to 17 of the page: utime, stime, cutime, cstime; `tail` begins with field 3.
    ticks = sum(int(value) for value in fields[11:15])
    return Stat(pid=int(head.split(" ", 1)[0]), parent=int(fields[1]), cpu_s=ticks / _TICKS)


def all_stats() -> dict[int, Stat]:
    """Every process that can be seen, by pid."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                stat = read_stat((folder / "stat").read_text(encoding="utf-8", errors="replace"))
                found[stat.pid] = stat
    return found


def tree_of(roots: Iterable[int], stats: dict[int, Stat] | None = None) -> set[int]:
    """The processes and all that descend from them, those that live."""
    known = all_stats() if stats is None else stats
    tree = {pid for pid in roots if pid in known}
    while grown := {pid for pid, stat in known.items() if stat.parent in tree} - tree:
        tree |= grown
    return tree


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time of the trees so far, user and system, in steps of 10 ms."""
    stats = all_stats()
    return sum(stats[pid].cpu_s for pid in tree_of(roots, stats))


def rss_bytes(roots: Iterable[int]) -> int:
    """Resident memory of the trees; pages that processes share are counted in each."""
    total = 0
    for pid in tree_of(roots):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    return total


def thread_cpu_seconds(pid: int) -> dict[int, float]:
    """CPU time of each thread of one process, by thread id."""
    found = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            line = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            fields = line.rpartition(")")[2].split()
            found[int(folder.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found


@contextmanager
def asleep(roots: Iterable[int]) -> Iterator[None]:
    """The trees stand still meanwhile: who is not measured takes no CPU."""
    pids = tree_of(roots)
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


@contextmanager
def on_cpus(cpus: Iterable[int]) -> Iterator[None]:
    """This thread, and every child that it starts meanwhile, runs on these processors only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cpus))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
