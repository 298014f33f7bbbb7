"""The load generator: its accounting, its HTTP against real servers, and the process that its parent holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving.load import Connection, Exchange, LoadProcess, Order, account, drive
from tests.fixtures.echo import Echo, echoing

TEXTS = ["one", "two", "zwölf", "four"]


@pytest.fixture
def port() -> Iterator[int]:
    """A running echo server."""
    with echoing() as port:
        yield port


def test_answers_are_counted() -> None:
    exchanges = [
        Exchange(0.0, 0.1, 200),
        Exchange(0.5, 0.2, 200),
        Exchange(0.9, 0.4, 200),
        Exchange(0.2, 5.0, 503),
    ]
    load = account(exchanges, window_s=1.0, client_cpu_s=0.3)
    assert (load.n, load.failed, load.client_cpu_s) == (4, 1, 0.3)
    # The third answer came after the window, the fourth was none.
    assert load.per_s == 2.0
    assert (load.p50_ms, load.p95_ms, load.p99_ms) == pytest.approx((200.0, 400.0, 400.0))
    assert load.latencies_ms == pytest.approx([100.0, 200.0, 400.0])


def test_nothing_answered_is_no_latency() -> None:
    load = account([Exchange(0.0, 0.1, 500)], window_s=2.0, client_cpu_s=0.0)
    assert (load.n, load.failed, load.per_s, load.latencies_ms) == (1, 1, 0.0, [])
    assert load.p50_ms != load.p50_ms


def test_one_connection_carries_many_exchanges_of_either_kind(port: int) -> None:
    async def exchange_all() -> list[tuple[int, str]]:
        connection = await Connection.open(port)
        found = []
        for text in TEXTS * 2:
            status, headers, body = await connection.exchange(_request(text))
            assert {"content-length", "transfer-encoding"} & headers.keys()
            found.append((status, json.loads(body)["text"]))
        connection.close()
        return found

    found = asyncio.run(exchange_all())
    assert found == [(429 if text == "two" else 200, text) for text in TEXTS * 2]
    assert list(Echo.ports.values()) == [8]


def test_a_server_that_hangs_up_is_an_error() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            connection = await Connection.open(server.sockets[0].getsockname()[1])
            with pytest.raises((OSError, EOFError)):
                await connection.exchange(_request("one"))
            connection.close()

    asyncio.run(ask())


def test_clients_share_the_texts_in_their_order(port: int) -> None:
    load = asyncio.run(drive(Order("plain", port, 3, 0.3, first_text=1), TEXTS))
    assert load.n == Echo.asked.total() >= 4
    assert load.failed == Echo.asked["two"] > 0
    assert max(Echo.asked.values()) - min(Echo.asked[text] for text in TEXTS) <= 1
    assert len(Echo.ports) == 3
    assert len(load.latencies_ms) == load.n - load.failed


def test_the_process_answers_order_after_order(port: int, tmp_path: Path) -> None:
    file = tmp_path / "texts.json"
    file.write_text(json.dumps(TEXTS), encoding="utf-8")
    with LoadProcess(file) as process:
        first = process.run(Order("plain", port, 1, 0.1, 0))
        second = process.run(Order("litserve", port, 2, 0.1, 2))
    assert first.n + second.n == Echo.asked.total()
    assert 0 < first.client_cpu_s < 10


def test_a_process_that_cannot_reach_the_server_ends_and_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "texts.json"
    file.write_text("[]", encoding="utf-8")
    with LoadProcess(file) as process, pytest.raises(EOFError):
        process.run(Order("plain", 9, 1, 0.1, 0))


def _request(text: str) -> bytes:
    content = json.dumps({"text": text}).encode()
    return f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
