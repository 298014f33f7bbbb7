"""Server-sent events: the ledger's events as they come, and a pulse when something changed without one.

Level-triggered like everything that follows the ledger: each connection looks once a second from where it stands, so
a client that comes back with `Last-Event-ID`, to this replica or another, misses nothing and is told nothing twice.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool

from trimtab.errors import LedgerUnavailable
from trimtab.ledger import Ledger
from trimtab.ledger.events import Event, last_event_seq, list_events
from trimtab.ledger.pulse import pulse

MEDIA_TYPE = "text/event-stream"
LOOK_S = 1.0
BEAT_S = 15.0  # proxies close a connection that says nothing for long
LIFE_S = 60.0  # then the client comes back: a server that ends waits for no stream longer than that
MOST_AT_ONCE = 500
AWAY = b": the ledger is away\n\n"


@dataclass(frozen=True)
class Look:
    """What one look at the ledger found."""

    events: tuple[Event, ...]
    pulse: dict[str, Any]


async def stream_events(
    ledger: Ledger, after: int | None, is_stopping: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Events above `after` (None: from now on), each with its `seq` as id, and pulses; ends after a minute."""
    began = said = time.monotonic()
    seen = after if after is not None else await _newest(ledger)
    last: dict[str, Any] | None = None
    yield f"retry: 1000\nid: {seen}\n\n".encode()
    while not is_stopping() and time.monotonic() - began < LIFE_S:
        found = await _look(ledger, seen)
        message = AWAY if found is None else _told(found, last)
        if found is not None:
            seen = found.events[-1].seq if found.events else seen
            last = found.pulse
        if message or time.monotonic() - said > BEAT_S:
            said = time.monotonic()
            yield message or b": still here\n\n"
        await asyncio.sleep(LOOK_S)


async def _newest(ledger: Ledger) -> int:
    def read() -> int:
        with ledger.read() as tx:
            return last_event_seq(tx)

    return await run_in_threadpool(read)


async def _look(ledger: Ledger, after: int) -> Look | None:
    """None while the ledger is away."""

    def read() -> Look:
        with ledger.read() as tx:
            return Look(tuple(list_events(tx, after, MOST_AT_ONCE)), pulse(tx))

    try:
        return await run_in_threadpool(read)
    except LedgerUnavailable:
        return None


def _told(found: Look, last: dict[str, Any] | None) -> bytes:
    messages = [_message("event", asdict(event), event.seq) for event in found.events]
    if found.pulse != last:
        messages.append(_message("pulse", found.pulse))
    return b"".join(messages)


def _message(kind: str, data: Any, seq: int | None = None) -> bytes:
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
