"""The supervisor: one per home, all ready, restarts with backoff, stops in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from service import supervise
from service.children import start_child
from service.home import Running, announce, find_running, own_home
from service.parts import Part, api_url, child_environment, file_ready, write_ready
from service.supervise import PartFailed, Supervisor
from trimtab.errors import HomeInUse, SettingsError
from trimtab.settings import MonitorSettings, ServerSettings, Settings, read_settings

READY_THEN_WAIT = """
import signal, sys
from pathlib import Path
from service.parts import write_ready
write_ready(Path(sys.argv[1]))
signal.pause()
"""


class Console:
    """What the supervisor said, and an event per sentence that a test waits for."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self._expected: list[tuple[str, str, Callable[[], None]]] = []

    def when(self, name: str, words: str, act: Callable[[], None]) -> None:
        """Act once, when the part's sentence contains the words."""
        self._expected.append((name, words, act))

    def say(self, name: str, what: str) -> None:
        self.said.append((name, what))
        for expected in [e for e in self._expected if e[0] == name and e[1] in what]:
            self._expected.remove(expected)
            expected[2]()

    def words(self, name: str) -> list[str]:
        return [what for part, what in self.said if part == name]


def part(name: str, tmp_path: Path, code: str = READY_THEN_WAIT) -> Part:
    ready_file, log = tmp_path / f"{name}.ready", tmp_path / f"{name}.log"
    argv = [sys.executable, "-c", code, str(ready_file)]

    def start() -> subprocess.Popen[bytes]:
        return start_child(argv, log=log, environment=os.environ, death_signal=signal.SIGKILL)

    return Part(name, start, lambda pid: file_ready(ready_file, pid), log)


def test_starts_all_watches_and_stops_in_order(tmp_path: Path) -> None:
    console, stop = Console(), threading.Event()
    supervisor = Supervisor([part(name, tmp_path) for name in ("valkey", "worker", "api")], console.say)
    supervisor.start(stop)
    pids = supervisor.pids
    assert {words[-1].split(" after")[0] for words in map(console.words, pids)} == {"ready"}
    supervisor.stop()
    stopped = [name for name, what in console.said if what == "stopped"]
    assert stopped == ["api", "worker", "valkey"]
    for pid in pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_crashed_part_is_started_again_with_growing_backoff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "FIRST_BACKOFF_S", 0.05)
    console, stop = Console(), threading.Event()
    supervisor = Supervisor([part("worker", tmp_path)], console.say)
    supervisor.start(stop)
    first = supervisor.pids["worker"]

    def crash_again() -> None:
        console.when("worker", "starts again", lambda: console.when("worker", "ready", stop.set))
        os.kill(supervisor.pids["worker"], signal.SIGKILL)

    console.when("worker", "ready", crash_again)
    os.kill(first, signal.SIGKILL)
    supervisor.watch(stop)
    assert supervisor.pids["worker"] != first
    assert sum("ended (killed by SIGKILL); starts again" in what for what in console.words("worker")) == 2
    assert sum(what.startswith("starting again") for what in console.words("worker")) == 2
    supervisor.stop()


def test_backoff_doubles_up_to_a_limit(tmp_path: Path) -> None:
    console = Console()
    supervisor = Supervisor([], console.say)
    running = supervise._Running(
        part("worker", tmp_path),
        start_child(["true"], log=tmp_path / "log", environment=os.environ, death_signal=signal.SIGKILL),
        started_at=0.0,
        ever_ready=True,
    )
    for _ in range(7):
        supervisor._crashed(running, 1, now=1.0)
    delays = [what.split(" in ")[1].split(" s,")[0] for what in console.words("worker")]
    assert delays == ["1", "2", "4", "8", "16", "30", "30"]
    supervisor._crashed(running, 1, now=supervise.STEADY_S + 1.0)  # it ran for long: begin anew
    assert console.words("worker")[-1].startswith("ended (exit code 1); starts again in 1 s")
    running.process.wait()


def test_a_part_that_cannot_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    broken = part("api", tmp_path, "import sys; sys.exit('the reason')")
    supervisor = Supervisor([part("worker", tmp_path), broken], Console().say)
    with pytest.raises(PartFailed, match=r"(?s)api did not start \(exit code 1\).*the reason"):
        supervisor.start(threading.Event())
    supervisor.stop()
    assert supervisor.pids == {}


def test_a_part_that_is_never_ready_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "READY_S", 0.0)
    supervisor = Supervisor([part("api", tmp_path, "import signal; signal.pause()")], Console().say)
    with pytest.raises(PartFailed, match="api: not ready after 0 s"):
        supervisor.start(threading.Event())
    supervisor.stop()


def test_one_home_has_one_owner_that_others_can_find(tmp_path: Path) -> None:
    assert find_running(tmp_path) is None
    with own_home(tmp_path):
        assert find_running(tmp_path) is None  # still starting
        announce(tmp_path, Running(pid=os.getpid(), url="http://here", started_at=1.0))
        assert find_running(tmp_path) == Running(pid=os.getpid(), url="http://here", started_at=1.0)
        with (
            pytest.raises(HomeInUse, match=rf"\(pid {os.getpid()}\) already runs on {tmp_path}"),
            own_home(tmp_path),
        ):
            pass
    assert find_running(tmp_path) is None
    with own_home(tmp_path):  # free again
        pass


def test_a_killed_owner_frees_the_home(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from service.home import Running, announce, own_home
with own_home(Path({str(tmp_path)!r})):
    announce(Path({str(tmp_path)!r}), Running(pid=os.getpid(), url="u", started_at=0.0))
    print("owned", flush=True)
    signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "owned\n"
        found = find_running(tmp_path)
        assert found is not None
        assert found.pid == owner.pid
        owner.kill()
    assert find_running(tmp_path) is None
    assert json.loads((tmp_path / "up.json").read_text())["pid"] == owner.pid  # stale, and known to be so
    with own_home(tmp_path):
        assert find_running(tmp_path) is None
        assert (tmp_path / "up.lock").read_text() == str(os.getpid())


def test_a_taken_port_is_told_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"127.0.0.1:{port} .*TRIMTAB_SERVER__PORT"):
            supervise._require_free_port("127.0.0.1", port)
    supervise._require_free_port("127.0.0.1", port)


def test_children_get_exactly_the_parents_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_SERVER__PORT", "1")  # an older value in the environment
    settings = Settings(home=tmp_path, monitor=MonitorSettings(tick_s=0.25)).model_copy(
        update={"server": ServerSettings(port=4321)}
    )
    environment = child_environment(settings)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert read_settings() == settings


def test_a_caller_on_this_machine_reaches_a_wildcard_address() -> None:
    def url(host: str) -> str:
        return api_url(Settings(server=ServerSettings(host=host, port=8000)))

    assert url("0.0.0.0") == url("127.0.0.1") == "http://127.0.0.1:8000"  # noqa: S104
    assert url("::") == "http://[::1]:8000"


def test_readiness_is_of_a_process_not_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "part.ready"
    assert not file_ready(path, os.getpid())
    write_ready(path)
    assert file_ready(path, os.getpid())
    assert not file_ready(path, os.getpid() + 1)
