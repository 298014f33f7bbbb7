"""One client process of the purity soak: asks without an end and holds every answer against the version it names."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.golden import Golden
from benchmarks.serving.load import Connection

# One text mostly, sometimes several: then the answer comes from one batch.
SIZES = (1, 1, 1, 4)


@dataclass(frozen=True)
class Order:
    """What one client process does: so many tasks, each with exponential pauses of this mean between requests."""

    port: int
    model: str
    tasks: int
    pause_s: float
    seed: int
    golden: str
    out: str


@dataclass(frozen=True)
class Seen:
    """One answer.

    Attributes:
        sent_s: On the machine's monotonic clock.
        seconds: Until the answer was read.
        status: 0 when the server hung up.
        version: Which the body names; headers, digest and body agree, else -1.
        n: Items.
        difference: The largest difference to the golden answer of that version.
    """

    sent_s: float
    seconds: float
    status: int
    version: int
    n: int
    difference: float


def request_of(model: str, texts: list[str]) -> bytes:
    """The whole HTTP request."""
    content = json.dumps({"model": model, "inputs": texts, "parameters": {"return": ["scores"]}}).encode()
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode("ascii") + content


def judge(golden: Golden, numbers: list[int], headers: dict[str, str], answer: Any) -> tuple[int, float]:
    """The version that an answer names, -1 if it contradicts itself; and how far it is from that version's answer."""
    version = int(answer["model_version"])
    agreed = (
        headers.get("x-model-version") == str(version)
        and headers.get("x-adapter-digest") == answer["adapter_digest"] == golden.digests.get(version)
        and len(answer["predictions"]) == len(numbers)
    )
    if not agreed:
        return -1, float("inf")
    scores = [[each["scores"][label] for label in golden.labels] for each in answer["predictions"]]
    return version, golden.difference(version, numbers, np.array(scores, dtype=np.float32))


async def _ask(order: Order, golden: Golden, task: int, stopped: asyncio.Event) -> list[Seen]:
    rng = random.Random(order.seed * 1000 + task)
    connection = await Connection.open(order.port)
    seen: list[Seen] = []
    while not stopped.is_set():
        numbers = rng.sample(range(len(golden.texts)), rng.choice(SIZES))
        request = request_of(order.model, [golden.texts[i] for i in numbers])
        sent = time.monotonic()
        try:
            status, headers, body = await connection.exchange(request)
        except (OSError, EOFError):
            seen.append(Seen(sent, time.monotonic() - sent, 0, -1, len(numbers), float("inf")))
            connection = await Connection.open(order.port)
            continue
        took = time.monotonic() - sent
        version, difference = -1, float("inf")
        if status == 200:
            version, difference = judge(golden, numbers, headers, json.loads(body))
        seen.append(Seen(sent, took, status, version, len(numbers), difference))
        await asyncio.sleep(rng.expovariate(1.0 / order.pause_s))
    connection.close()
    return seen


async def run(order: Order, golden: Golden) -> list[Seen]:
    """Says that it is ready and asks until standard input ends."""
    stopped = asyncio.Event()
    print("ready", flush=True)
    tasks = [asyncio.create_task(_ask(order, golden, task, stopped)) for task in range(order.tasks)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    stopped.set()
    parts = await asyncio.gather(*tasks)
    return [each for part in parts for each in part]


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    golden = Golden.from_json(json.loads(Path(order.golden).read_text(encoding="utf-8")))
    seen = asyncio.run(run(order, golden))
    Path(order.out).write_text(json.dumps([list(asdict(each).values()) for each in seen]), encoding="utf-8")


if __name__ == "__main__":
    main()
