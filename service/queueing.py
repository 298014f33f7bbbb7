"""What waits for the engine: bounded in items and tokens, and shared out between clients by turns.

A client is an API key. Whoever asks most waits for itself: batches take one work of each client in turn, and when the
queue is full, a client that holds less than another takes the place of the other's newest work.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from trimtab.base import Encoded
from trimtab.bundle import ModelBundle
from trimtab.errors import Overloaded
from trimtab.features import Outputs


@dataclass(frozen=True)
class Computed:
    """Outputs of n texts, how long they waited for the engine and how long their batch took, seconds."""

    outputs: Outputs
    queue_s: float
    compute_s: float


@dataclass(eq=False)
class Work:
    """Texts of one request that are computed together, by the bundle that the request was given."""

    bundle: ModelBundle
    encoded: Encoded
    client: str
    # On the monotonic clock.
    expires_at: float
    future: asyncio.Future[Computed]
    loop: asyncio.AbstractEventLoop
    # Expected time of its computation, seconds; 0 before anything was measured.
    cost_s: float = 0.0
    queued_at: float = field(default_factory=time.monotonic)

    @property
    def n_items(self) -> int:
        return len(self.encoded)

    @property
    def n_tokens(self) -> int:
        return self.encoded.n_tokens


class FairQueue:
    """Works by client. Not thread-safe: the batcher's lock guards it."""

    def __init__(self, *, max_items: int, max_tokens: int) -> None:
        self._max_items = max_items
        self._max_tokens = max_tokens
        # The client whose turn is next comes first; lanes are never empty.
        self._lanes: OrderedDict[str, deque[Work]] = OrderedDict()
        self.n_items = 0
        self.n_tokens = 0

    def __iter__(self) -> Iterator[Work]:
        return (work for lane in self._lanes.values() for work in lane)

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def add(self, works: Sequence[Work]) -> list[Work]:
        """Queues the works of one request, all or none; returns the works of others that had to go for it.

        Raises:
            Overloaded: there is no room, and nobody holds more of the queue than this client would.
        """
        gone = self._displaced(works)
        for work in gone:
            self.remove(work)
        for work in works:
            self._lanes.setdefault(work.client, deque()).append(work)
            self._count(work, 1)
        return gone

    def remove(self, work: Work) -> bool:
        """Takes a work out; whether it was there."""
        lane = self._lanes.get(work.client, deque())
        if work not in lane:
            return False
        lane.remove(work)
        self._took(work)
        return True

    def take(self, *, max_items: int, max_tokens: int) -> list[Work]:
        """The next batch: the oldest work of the client whose turn it is, and what fits beside it on its bundle.

        Clients give one work a turn. Who gave something goes behind those who did not. A work beyond the bounds comes
        alone. Empty when nothing waits.
        """
        batch: list[Work] = []
        n_items = n_tokens = 0
        turns = deque(self._lanes)
        while turns:
            client = turns.popleft()
            work = self._next(client, batch)
            if work is None:
                continue
            n_items, n_tokens = n_items + work.n_items, n_tokens + work.n_tokens
            if batch and (n_items > max_items or n_tokens > max_tokens):
                n_items, n_tokens = n_items - work.n_items, n_tokens - work.n_tokens
                continue
            batch.append(work)
            self.remove(work)
            if client in self._lanes:
                self._lanes.move_to_end(client)
                turns.append(client)
        return batch

    def expired(self, now: float) -> list[Work]:
        """Takes out and returns the works whose deadline has passed."""
        late = [work for work in self if work.expires_at <= now]
        for work in late:
            self.remove(work)
        return late

    def ahead_s(self, client: str, cost_s: float) -> float:
        """Expected seconds of compute before works of cost_s seconds of this client are through, without their own.

        Turns are taken: of every other client at most as much comes first as this one has itself.
        """
        costs = {name: sum(work.cost_s for work in lane) for name, lane in self._lanes.items()}
        mine = costs.pop(client, 0.0)
        return mine + sum(min(cost, mine + cost_s) for cost in costs.values())

    def room_after_s(self, works: Sequence[Work]) -> float:
        """Expected seconds until there is room for these works."""
        items, tokens = _items(works), _tokens(works)
        excess = max(
            (self.n_items + items - self._max_items) / max(self.n_items, 1),
            (self.n_tokens + tokens - self._max_tokens) / max(self.n_tokens, 1),
        )
        return min(max(excess, 0.0), 1.0) * sum(work.cost_s for work in self)

    def _next(self, client: str, batch: Sequence[Work]) -> Work | None:
        """A client's oldest work, on the bundle of the batch if that has begun."""
        lane = self._lanes[client]
        return next((work for work in lane if not batch or work.bundle is batch[0].bundle), None)

    def _displaced(self, works: Sequence[Work]) -> list[Work]:
        """The newest works of those who hold most, as many as must go for these; raises Overloaded."""
        client = works[0].client
        lanes = {name: list(lane) for name, lane in self._lanes.items()}
        own = self._share([*lanes.pop(client, []), *works])
        items, tokens = self.n_items + _items(works), self.n_tokens + _tokens(works)
        gone: list[Work] = []
        while items > self._max_items or tokens > self._max_tokens:
            largest = max(lanes.values(), key=self._share, default=[])
            if self._share(largest) <= own:
                raise Overloaded(f"{self.n_items} items with {self.n_tokens} tokens are waiting")
            gone.append(largest.pop())
            items, tokens = items - gone[-1].n_items, tokens - gone[-1].n_tokens
        return gone

    def _share(self, works: Sequence[Work]) -> float:
        """How much of the queue they take."""
        return max(_items(works) / self._max_items, _tokens(works) / self._max_tokens)

    def _took(self, work: Work) -> None:
        self._count(work, -1)
        if not self._lanes[work.client]:
            del self._lanes[work.client]

    def _count(self, work: Work, sign: int) -> None:
        self.n_items += sign * work.n_items
        self.n_tokens += sign * work.n_tokens


def _items(works: Sequence[Work]) -> int:
    return sum(work.n_items for work in works)


def _tokens(works: Sequence[Work]) -> int:
    return sum(work.n_tokens for work in works)
