"""HTTP: every server in turn at every concurrency, round after round; and what the engine alone would take."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.serving.engine import cpu_of
from benchmarks.serving.load import Load, LoadProcess, Order
from benchmarks.serving.processes import asleep, cpu_seconds, on_cpus, rss_bytes, thread_cpu_seconds
from benchmarks.serving.servers import Server
from trimtab.bundle import ModelBundle

# Seconds in which a cell sends requests, by concurrency: enough answers for a percentile of the slowest server.
WINDOWS_S = {1: 1.5, 8: 2.0, 32: 2.5, 64: 3.5}
ENGINE_S = 0.7


@dataclass(frozen=True)
class Cell:
    """One server at one concurrency in one round.

    Attributes:
        cpu_ms: CPU time of the server's process tree, per answer.
        beside_ms: That of every thread but the busiest of the first process, per answer: what is not the model.
        rss_mb: Resident memory of the tree.
        load: What the clients saw.
    """

    round: int
    server: str
    concurrency: int
    cpu_ms: float
    beside_ms: float
    rss_mb: float
    load: Load


@dataclass(frozen=True)
class EngineCell:
    """The engine alone, in this process, on the servers' processors: CPU per text in batches of this size."""

    round: int
    batch: int
    cpu_ms: float


@dataclass(frozen=True)
class Machine:
    """Who runs where: processors of the servers, and those of the clients."""

    servers: tuple[int, ...]
    clients: tuple[int, ...]

    @staticmethod
    def split(n_servers: int) -> Machine:
        """The first n processors for servers, the rest for clients; 0 or too few: everybody everywhere."""
        every = tuple(sorted(os.sched_getaffinity(0)))
        if not 0 < n_servers < len(every):
            return Machine(every, every)
        return Machine(every[:n_servers], every[n_servers:])


def measure_http(
    servers: Sequence[Server],
    load: LoadProcess,
    bundle: ModelBundle,
    texts: Sequence[str],
    machine: Machine,
    *,
    concurrencies: Sequence[int],
    n_rounds: int,
    scale: float,
) -> Iterator[Cell | EngineCell]:
    """Cells in an order that is drawn anew in every round; `scale` shortens all windows."""
    order = random.Random(0)
    for number in range(n_rounds):
        for concurrency in concurrencies:
            seconds = WINDOWS_S.get(concurrency, 3.0) * scale
            for server in order.sample(list(servers), len(servers)):
                with ExitStack() as stack:
                    others = [each for each in servers if each is not server and each.may_sleep]
                    stack.enter_context(asleep(pid for each in others for pid in each.roots))
                    request = Order(server.name, server.port, concurrency, seconds, number * 997)
                    yield _cell(server, load, request, number)
            with asleep(pid for each in servers if each.may_sleep for pid in each.roots):
                yield _engine_cell(bundle, texts, machine, number, min(concurrency, 32), ENGINE_S * scale)


def _cell(server: Server, load: LoadProcess, order: Order, number: int) -> Cell:
    threads, before = thread_cpu_seconds(server.roots[0]), cpu_seconds(server.roots)
    seen = load.run(order)
    used = cpu_seconds(server.roots) - before
    busy = {tid: s - threads.get(tid, 0.0) for tid, s in thread_cpu_seconds(server.roots[0]).items()}
    n = max(seen.n, 1)
    return Cell(
        round=number,
        server=server.name,
        concurrency=order.concurrency,
        cpu_ms=used * 1000 / n,
        beside_ms=(used - max(busy.values())) * 1000 / n,
        rss_mb=rss_bytes(server.roots) / 1e6,
        load=seen,
    )


def _engine_cell(
    bundle: ModelBundle, texts: Sequence[str], machine: Machine, number: int, batch: int, seconds: float
) -> EngineCell:
    start = number * 997
    used, n = 0.0, 0
    with on_cpus(machine.servers):
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends or n == 0:
            chosen = [texts[(start + n + i) % len(texts)] for i in range(batch)]
            used += cpu_of(lambda chosen=chosen: bundle.predict(chosen))  # type: ignore[misc]
            n += batch
    return EngineCell(number, batch, used * 1000 / n)
