"""`trimtab up` with real processes: ready, one per home, crashes mended, stopped in order, no orphan after kill -9."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from service.demo.machine import free_port
from service.home import Running, find_running
from service.valkey import answers
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.ups import Up, ready_up, start_up
from tests.fixtures.workshops import toy_shop, wait_until
from trimtab.settings import ServerSettings, Settings, runtime_dir

pytestmark = pytest.mark.slow
PARTS = {"valkey", "api", "worker", "monitor"}


@pytest.fixture(scope="module")
def home_with_model(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path) -> Iterator[Settings]:
    """A home with model `toy`, version 1 on a tiny base, and a free port."""
    home = tmp_path_factory.mktemp("home")
    with TemporaryDirectory(prefix="tt-") as short, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", short)
        with toy_shop(home, tiny_base_dir) as toy:
            toy.create_first(toy_rows("film", 200), epochs=1)
        yield Settings(home=home, device="cpu", server=ServerSettings(port=free_port()))


@pytest.fixture
def up(home_with_model: Settings, tmp_path: Path) -> Iterator[Up]:
    """`trimtab up` on that home, ready."""
    with ready_up(home_with_model, tmp_path / "console") as started:
        yield started


def all_gone(running: Running) -> bool:
    return not any(psutil.pid_exists(pid) for pid in running.parts.values())


def test_all_parts_are_ready_a_second_up_is_refused_and_ctrl_c_stops_all(up: Up, tmp_path: Path) -> None:
    running = up.running
    assert set(running.parts) == PARTS
    assert up.answers()
    second = start_up(up.settings, tmp_path / "second")
    assert second.wait() == 2
    assert second.said(f"another `trimtab up` (pid {up.process.pid}) already runs")
    up.process.send_signal(signal.SIGINT)
    assert up.wait() == 0
    assert all_gone(running)
    told = up.console.read_text(encoding="utf-8")
    order = [told.index(f"{name:<8} stopped") for name in ("api", "monitor", "worker", "valkey")]
    assert order == sorted(order)
    assert find_running(up.settings.home) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal is Linux's")
def test_a_killed_supervisor_leaves_nothing_running(up: Up) -> None:
    running = up.running
    children = [
        child.pid for pid in running.parts.values() for child in psutil.Process(pid).children(recursive=True)
    ]
    up.process.kill()
    up.wait()
    wait_until(lambda: all_gone(running), "the end of all parts")
    assert not any(psutil.pid_exists(pid) for pid in children)
    assert not answers(runtime_dir(up.settings.home) / "valkey.sock")


def test_every_part_that_is_killed_comes_back(up: Up) -> None:
    before = up.running.parts
    for name in ("valkey", "api", "monitor", "worker"):
        os.kill(before[name], signal.SIGKILL)
        wait_until(partial(up.said, f"{name:<8} ended (killed by SIGKILL)"), f"the end of {name}")
    wait_until(lambda: up.console.read_text(encoding="utf-8").count(" ready after ") == 8, "all parts again")
    wait_until(up.answers, "answers")
    after = up.running.parts
    assert all(after[name] != before[name] and psutil.pid_exists(after[name]) for name in PARTS)


def test_a_taken_port_is_told(home_with_model: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", home_with_model.server.port)):
        refused = start_up(home_with_model, tmp_path / "console")
        assert refused.wait() == 2
    assert refused.said("TRIMTAB_SERVER__PORT")
