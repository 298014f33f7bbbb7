"""What /proc says of real child processes: a tree, its CPU time, its memory, and standing still."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving.processes import (
    Stat,
    all_stats,
    asleep,
    cpu_seconds,
    on_cpus,
    read_stat,
    rss_bytes,
    thread_cpu_seconds,
    tree_of,
)

# A parent whose child burns CPU until the pipe closes; both say that they are there.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "print('burning', flush=True)\\nwhile True: pass"])
sys.stdin.read()
child.kill()
child.wait()
"""


@pytest.fixture
def burning() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose child burns CPU."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"burning\n"
        yield parent
        assert parent.stdin is not None
        parent.stdin.close()
        parent.wait(timeout=20)


def test_a_line_is_read_whatever_the_name_holds() -> None:
    fields = ["S", "7", *["0"] * 9, "100", "20", "3", "4", *["0"] * 30]
    line = f"42 (a ) (strange) name) {' '.join(fields)}"
    assert read_stat(line) == Stat(pid=42, parent=7, cpu_s=127 / os.sysconf("SC_CLK_TCK"))


def test_a_tree_is_the_roots_and_all_below_them() -> None:
    parents = {1: 0, 2: 1, 3: 2, 4: 1, 9: 8, 8: 0}
    stats = {pid: Stat(pid, parent, 1.0) for pid, parent in parents.items()}
    assert tree_of([2], stats) == {2, 3}
    assert tree_of([1], stats) == {1, 2, 3, 4}
    assert tree_of([2, 8], stats) == {2, 3, 8, 9}
    assert tree_of([77], stats) == set()


def test_this_process_is_seen() -> None:
    stat = all_stats()[os.getpid()]
    assert stat.parent == os.getppid()
    assert os.getpid() in tree_of([os.getppid()])


def test_cpu_of_a_grandchild_counts(burning: subprocess.Popen[bytes]) -> None:
    before = cpu_seconds([burning.pid])
    _until(lambda: cpu_seconds([burning.pid]) >= before + 0.05)
    own = all_stats()[burning.pid].cpu_s
    assert cpu_seconds([burning.pid]) > own


def test_who_is_asleep_takes_no_cpu(burning: subprocess.Popen[bytes]) -> None:
    with asleep([burning.pid]):
        _until(lambda: all(_state(pid) == "T" for pid in tree_of([burning.pid])))
        before = cpu_seconds([burning.pid])
        _burn(0.1)
        assert cpu_seconds([burning.pid]) == before
    _until(lambda: cpu_seconds([burning.pid]) > before)


def test_cpu_of_who_is_gone_is_that_of_nobody() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
        assert rss_bytes([ended.pid]) == 0
    assert cpu_seconds([ended.pid]) == 0.0


def test_memory_is_that_of_the_tree(burning: subprocess.Popen[bytes]) -> None:
    assert rss_bytes([burning.pid]) > 2_000_000
    assert rss_bytes([os.getpid()]) > rss_bytes([burning.pid])


def test_threads_add_up_to_their_process() -> None:
    """From here on: threads that have ended count for the process and are not listed any more."""
    before, began = thread_cpu_seconds(os.getpid()), time.process_time()
    _burn(0.5)
    threads = thread_cpu_seconds(os.getpid())
    assert os.getpid() in threads
    gained = sum(threads.values()) - sum(before.values())
    assert gained == pytest.approx(time.process_time() - began, rel=0.2, abs=0.2)


def test_children_inherit_the_processors_and_we_get_ours_back() -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    with on_cpus(one):
        code = "import os; print(sorted(os.sched_getaffinity(0)))"
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == str(sorted(one))
    assert os.sched_getaffinity(0) == before


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def _burn(seconds: float) -> None:
    """CPU time of this process, not of the clock on the wall."""
    ends = time.process_time() + seconds
    while time.process_time() < ends:
        pass


def _until(holds: object) -> None:
    deadline = time.monotonic() + 30
    assert callable(holds)
    while not holds():
        assert time.monotonic() < deadline
