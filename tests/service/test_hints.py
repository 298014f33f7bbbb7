"""The hint wakes; its absence is silent and heals."""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

from service.app import redis_client as client_of
from service.hints import HintListener, send_hint
from service.valkey import ValkeyServer, start_valkey
from tests.fixtures.deployment import eventually


def test_a_hint_wakes_and_so_does_a_new_subscription(valkey: ValkeyServer, redis_client: redis.Redis) -> None:
    wake = threading.Event()
    listener = HintListener(client_of(valkey.url), wake)
    listener.start()
    assert wake.wait(10)  # once subscribed, it looks for what it missed
    wake.clear()
    assert send_hint(redis_client, "toy")
    assert wake.wait(10)
    listener.close(5)


def test_redis_may_come_late_and_go(tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="tt-") as short:
        socket = Path(short) / "v.sock"
        client = client_of(f"unix://{socket}")
        assert not send_hint(client, "toy")
        wake = threading.Event()
        listener = HintListener(client, wake)
        listener.start()
        for _ in range(2):
            server = start_valkey(socket, data=tmp_path / "data", log=tmp_path / "log")
            assert wake.wait(10)
            server.stop()
            eventually(lambda: not send_hint(client, "toy"), "the end of the server")
            wake.clear()
        listener.close(5)
