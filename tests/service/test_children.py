"""A child ends with its parent: in order, by force, and when the parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.children import is_alive, start_child, stop_child

SLEEPER = "import signal, sys; print('ready', flush=True); signal.pause()"
STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write("up")
while True: signal.pause()
"""
# Starts a grandchild whose stdout is this pipe: the pipe closes when the grandchild is gone.
PARENT = """
import os, signal, sys
from pathlib import Path
from service.children import start_child
log, fifo = Path(sys.argv[1]), sys.argv[2]
code = f"import signal; held = open({fifo!r}, 'w'); held.write('up'); held.flush(); signal.pause()"
start_child([sys.executable, "-c", code], log=log, environment=os.environ, death_signal=signal.SIGKILL)
signal.pause()
"""
# The same, with a child that ties itself to its parent.
TYING_PARENT = """
import os, signal, subprocess, sys
code = f'''import os, signal
from service.children import die_with_parent
die_with_parent(signal.SIGKILL, {os.getpid()})
held = open({sys.argv[2]!r}, "w"); held.write("up"); held.flush(); signal.pause()'''
subprocess.Popen([sys.executable, "-c", code])
signal.pause()
"""


def start(code: str, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", code, *arguments]
    return start_child(argv, log=log, environment=os.environ, death_signal=signal.SIGKILL)


def test_child_leads_its_own_session_and_writes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    child = start("import os; print(os.getsid(0) == os.getpid())", log)
    assert child.wait(10) == 0
    assert log.read_text() == "True\n"


def test_stop_asks_first(tmp_path: Path) -> None:
    child = start(SLEEPER, tmp_path / "log")
    assert stop_child(child, grace_s=10) == -signal.SIGTERM
    assert stop_child(child, grace_s=10) == -signal.SIGTERM  # a second stop changes nothing


def test_stop_kills_a_child_that_does_not_obey(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = start(STUBBORN, tmp_path / "log", str(fifo))
    assert fifo.read_text() == "up"  # the handler is set before the fifo is written
    assert stop_child(child, grace_s=0.1) == -signal.SIGKILL


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("code", [PARENT, TYING_PARENT])
def test_killed_parent_takes_its_child_along(tmp_path: Path, code: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log"), str(fifo)])
    with fifo.open() as held:
        assert held.read(2) == "up"
        parent.kill()
        parent.wait()
        assert held.read() == ""  # end of file: nobody holds the other end any more


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal is Linux's")
def test_a_child_whose_parent_is_gone_already_ends(tmp_path: Path) -> None:
    code = "import signal; from service.children import die_with_parent; die_with_parent(signal.SIGKILL, 1)"
    assert start(f"{code}; print('too late')", tmp_path / "log").wait(20) == 1
    assert (tmp_path / "log").read_text() == ""


def test_children_start_from_the_main_thread_only(tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            start(SLEEPER, tmp_path / "log")
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_a_process_is_alive_until_it_ends_even_before_anybody_waits_for_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it ended, and stays a zombie
    assert not is_alive(child.pid)
    child.communicate()
    assert not is_alive(child.pid)
