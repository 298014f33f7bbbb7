"""The load generator: closed-loop clients on keep-alive connections, in a process of its own that costs little CPU.

The process takes one order a line on standard input and answers with one report a line; its parent holds it by
`LoadProcess`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.serving.dialects import DIALECTS
from benchmarks.serving.intervals import percentile

CONNECT_S = 10.0


@dataclass(frozen=True)
class Order:
    """One cell: whom to ask, how many at once, for how long, and with which text to begin."""

    server: str
    port: int
    concurrency: int
    seconds: float
    first_text: int


@dataclass(frozen=True)
class Exchange:
    """One request: when it was sent (seconds from the start of the cell), how long it took, the answer's status."""

    sent_s: float
    seconds: float
    status: int


@dataclass(frozen=True)
class Load:
    """What the clients saw in one cell.

    Attributes:
        n: Answers, all of them, also those that came after the window in which requests are sent.
        failed: Answers whose status is not 200.
        per_s: Answers within the window, a second.
        p50_ms, p95_ms, p99_ms: Of all good answers.
        client_cpu_s: CPU time of the load generator.
        latencies_ms: Of every good answer.
    """

    n: int
    failed: int
    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    client_cpu_s: float
    latencies_ms: list[float]


def account(exchanges: Sequence[Exchange], window_s: float, client_cpu_s: float) -> Load:
    """Counts the exchanges of a cell whose requests were all sent within the window."""
    good = [each for each in exchanges if each.status == 200]
    latencies = [each.seconds * 1000 for each in good]
    return Load(
        n=len(exchanges),
        failed=len(exchanges) - len(good),
        per_s=sum(each.sent_s + each.seconds <= window_s for each in good) / window_s,
        p50_ms=percentile(latencies, 0.50),
        p95_ms=percentile(latencies, 0.95),
        p99_ms=percentile(latencies, 0.99),
        client_cpu_s=client_cpu_s,
        latencies_ms=[round(each, 3) for each in latencies],
    )


class Connection:
    """One keep-alive HTTP/1.1 connection: a request out, its answer in, nothing else."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @staticmethod
    async def open(port: int) -> Connection:
        async with asyncio.timeout(CONNECT_S):
            return Connection(*await asyncio.open_connection("127.0.0.1", port))

    async def exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of the answer.

        Raises OSError or EOFError when the server hangs up.
        """
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join([chunk async for chunk in self._chunks()])
        else:
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split(" ", 2)[1]), headers, body

    def close(self) -> None:
        self._writer.close()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int((await self._reader.readline()).split(b";")[0], 16):
            yield await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readline()


async def drive(order: Order, texts: Sequence[str]) -> Load:
    """Every client asks for the next text as soon as it has its answer, until the window ends; then all are awaited."""
    dialect = DIALECTS[order.server]
    numbers = itertools.count(order.first_text)
    connections = [await Connection.open(order.port) for _ in range(order.concurrency)]
    cpu, started = time.process_time(), time.perf_counter()
    requests = (dialect.request(texts[number % len(texts)]) for number in numbers)
    try:
        done = await asyncio.gather(*(_ask(each, requests, started, order.seconds) for each in connections))
    finally:
        for each in connections:
            each.close()
    return account([each for part in done for each in part], order.seconds, time.process_time() - cpu)


async def _ask(
    connection: Connection, requests: Iterator[bytes], started: float, seconds: float
) -> list[Exchange]:
    exchanges = []
    while (sent := time.perf_counter() - started) < seconds:
        status, _, _ = await connection.exchange(next(requests))
        exchanges.append(Exchange(sent, time.perf_counter() - started - sent, status))
    return exchanges


class LoadProcess:
    """The load generator as its parent sees it."""

    def __init__(self, texts: Path) -> None:
        """texts: a JSON file with the list of texts."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving.load", str(texts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=30)

    def run(self, order: Order) -> Load:
        """One cell. Raises EOFError when the generator ended: its error is on standard error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the load generator ended")
        return Load(**json.loads(line))


def main() -> None:
    texts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for line in sys.stdin:
        load = asyncio.run(drive(Order(**json.loads(line)), texts))
        print(json.dumps(asdict(load)), flush=True)


if __name__ == "__main__":
    main()
