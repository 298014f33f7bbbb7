"""Continuous batching: one inference thread takes what waits whenever it is free.

A batch holds requests of one bundle only, so an answer cannot mix versions; a request pins its bundle when it is
admitted. Requests that nobody waits for any more leave the queue before they cost anything.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from service.queueing import Computed, FairQueue, Work
from trimtab import metrics
from trimtab.base import Encoded
from trimtab.bundle import ModelBundle
from trimtab.errors import DeadlineExceeded, NotReady, Overloaded
from trimtab.features import Outputs
from trimtab.settings import ServerSettings

# A pause this long between two batches means that the load is gone.
_LULL_S = 0.02
_PACE_MEMORY = 0.8


class Batcher:
    """A fair, bounded queue in front of one inference thread."""

    def __init__(self, limits: ServerSettings, on_start: Callable[[], object] = lambda: None) -> None:
        """on_start runs first in the inference thread (thread counts are per thread in torch)."""
        self._limits = limits
        self._on_start = on_start
        self._changed = threading.Condition()
        self._queue = FairQueue(max_items=limits.max_queue_items, max_tokens=limits.max_queue_tokens)
        self._closed = False
        # Base digest -> seconds a token, a moving average over batches.
        self._pace: dict[str, float] = {}
        self._busy_until = 0.0
        # Works of the last batch and those that it left waiting, and when it ended.
        self._crowd = 0
        self._last_end = 0.0
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Finishes the batch that runs, refuses what waits, ends the thread."""
        with self._changed:
            self._closed = True
            waiting = list(self._queue)
            for work in waiting:
                self._queue.remove(work)
            self._changed.notify_all()
        _settle([(work, NotReady("the server is stopping")) for work in waiting])
        self._thread.join(timeout_s)

    async def submit(
        self, bundle: ModelBundle, encoded: Encoded, deadline_s: float, client: str = ""
    ) -> Computed:
        """What the bundle makes of n texts, in their order. A request larger than a batch is computed in parts.

        Raises:
            Overloaded: the queue is full or too slow for the deadline; `retry_after_s` says when it will not be.
            DeadlineExceeded: not answered within deadline_s seconds.
            NotReady: the server is stopping.
        """
        works = self._parts(bundle, encoded, deadline_s, client)
        self._admit(works, deadline_s)
        try:
            async with asyncio.timeout(deadline_s):
                return _joined(await asyncio.gather(*(work.future for work in works)))
        except (TimeoutError, DeadlineExceeded):
            metrics.REJECTED.labels("deadline").inc()
            raise DeadlineExceeded(f"not answered within {deadline_s:g} s") from None
        finally:
            self._forget(works)
            works.clear()  # else an error, its traceback and its future would hold each other

    def queued_items(self) -> int:
        """Items that wait, without those that are being computed."""
        with self._changed:
            return self._queue.n_items

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being computed."""
        return self._busy_until == 0.0 and not self.queued_items()

    def _parts(self, bundle: ModelBundle, encoded: Encoded, deadline_s: float, client: str) -> list[Work]:
        loop = asyncio.get_running_loop()
        pace, expires_at = self._pace.get(bundle.base.digest, 0.0), time.monotonic() + deadline_s
        limits = self._limits
        return [
            Work(bundle, part, client, expires_at, loop.create_future(), loop, pace * part.n_tokens)
            for part in split(encoded, limits.max_batch_items, limits.max_batch_tokens)
        ]

    def _admit(self, works: Sequence[Work], deadline_s: float) -> None:
        with self._changed:
            if self._closed:
                raise NotReady("the server is stopping")
            self._refuse_too_late(works, deadline_s)
            try:
                gone = self._queue.add(works)
            except Overloaded as error:
                raise self._refusal("queue_full", str(error), self._queue.room_after_s(works)) from None
            refused = [(work, self._displaced(work)) for work in gone]
            self._changed.notify_all()
        _settle(refused)

    def _refuse_too_late(self, works: Sequence[Work], deadline_s: float) -> None:
        """Raises Overloaded for what could be answered in time if only less was waiting; an idle engine takes all."""
        cost_s = sum(work.cost_s for work in works)
        wait_s = self._busy_s() + self._queue.ahead_s(works[0].client, cost_s)
        if wait_s > 0 and wait_s + cost_s > deadline_s > cost_s:
            message = f"the expected wait is {wait_s:.2g} s, the deadline {deadline_s:g} s"
            raise self._refusal("estimated_wait", message, wait_s + cost_s - deadline_s)

    def _displaced(self, work: Work) -> Overloaded:
        wait_s = self._queue.room_after_s([work])
        return self._refusal("queue_full", "the queue is full, and others wait for less", wait_s)

    def _refusal(self, reason: str, message: str, retry_after_s: float) -> Overloaded:
        metrics.REJECTED.labels(reason).inc()
        error = Overloaded(message)
        error.retry_after_s = retry_after_s or error.retry_after_s
        return error

    def _busy_s(self) -> float:
        """Expected rest of the batch that runs."""
        return max(0.0, self._busy_until - time.monotonic())

    def _forget(self, works: Sequence[Work]) -> None:
        """Whoever waited is gone (answer, deadline or disconnect): what was not computed will not be."""
        with self._changed:
            left = [work for work in works if self._queue.remove(work)]
            if left:
                self._changed.notify_all()

    def _run(self) -> None:
        self._on_start()
        while self._step():
            pass

    def _step(self) -> bool:
        """One batch, and no reference to it afterwards: a version that nobody asks for any more must go."""
        batch = self._take()
        if batch:
            self._compute(batch)
        self._busy_until = 0.0
        return not self._closed

    def _take(self) -> list[Work]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._under_load():
                self._changed.wait_for(self._is_full, self._limits.collect_s)
            now, limits = time.monotonic(), self._limits
            late = self._queue.expired(now)
            batch = self._queue.take(max_items=limits.max_batch_items, max_tokens=limits.max_batch_tokens)
            self._busy_until = now + sum(work.cost_s for work in batch)
            self._crowd = len(batch) + len(self._queue)
        _settle([(work, DeadlineExceeded()) for work in late])
        return batch

    def _under_load(self) -> bool:
        """Whether those just answered will ask again at once: there were several, a moment ago."""
        return self._crowd > 1 and time.monotonic() - self._last_end < _LULL_S

    def _is_full(self) -> bool:
        """Whether as many wait as there were, or as a batch can hold."""
        queue, limits = self._queue, self._limits
        full = queue.n_items >= limits.max_batch_items or queue.n_tokens >= limits.max_batch_tokens
        return self._closed or full or len(queue) >= self._crowd

    def _compute(self, batch: list[Work]) -> None:
        bundle, started = batch[0].bundle, time.monotonic()
        try:
            outputs = bundle.run(_together([work.encoded for work in batch]))
        except Exception as error:  # noqa: BLE001  # handed to whoever waits for it; the thread goes on
            _settle([(work, error) for work in batch])
            # The error's traceback ends in this frame: what it holds would hold the error, and the bundle with it.
            batch.clear()
            return
        ended = time.monotonic()
        self._account(batch, ended - started)
        ends = np.cumsum([work.n_items for work in batch])
        _settle(
            [
                (
                    work,
                    Computed(
                        _rows(outputs, end - work.n_items, end), started - work.queued_at, ended - started
                    ),
                )
                for work, end in zip(batch, ends.tolist(), strict=True)
            ]
        )
        self._last_end = time.monotonic()

    def _account(self, batch: Sequence[Work], compute_s: float) -> None:
        bundle = batch[0].bundle
        started = time.monotonic() - compute_s
        for work in batch:
            metrics.QUEUE_DURATION.labels(bundle.model).observe(max(0.0, started - work.queued_at))
        metrics.BATCH_SIZE.labels(bundle.model).observe(sum(work.n_items for work in batch))
        metrics.INFERENCE_DURATION.labels(bundle.model).observe(compute_s)
        pace = compute_s / max(1, sum(work.n_tokens for work in batch))
        before = self._pace.get(bundle.base.digest, pace)
        self._pace[bundle.base.digest] = _PACE_MEMORY * before + (1 - _PACE_MEMORY) * pace


def split(encoded: Encoded, max_items: int, max_tokens: int) -> list[Encoded]:
    """The texts in parts of at most so many items and tokens, in their order; a text beyond it is a part alone."""
    parts: list[Encoded] = []
    start = n_tokens = 0
    for i, row in enumerate(encoded.ids):
        if i > start and (i - start >= max_items or n_tokens + len(row) > max_tokens):
            parts.append(encoded.part(start, i))
            start, n_tokens = i, 0
        n_tokens += len(row)
    return [*parts, encoded.part(start, len(encoded))]


def _together(parts: Sequence[Encoded]) -> Encoded:
    ids = tuple(row for part in parts for row in part.ids)
    return Encoded(ids, tuple(cut for part in parts for cut in part.cut))


def _joined(parts: Sequence[Computed]) -> Computed:
    """The parts of one request as one."""
    if len(parts) == 1:
        return parts[0]
    every = [part.outputs for part in parts]
    outputs = Outputs(
        pooled=np.concatenate([each.pooled for each in every]),
        logits=np.concatenate([each.logits for each in every]),
        n_tokens=np.concatenate([each.n_tokens for each in every]),
        n_unknown=np.concatenate([each.n_unknown for each in every]),
    )
    return Computed(outputs, max(part.queue_s for part in parts), sum(part.compute_s for part in parts))


def _rows(outputs: Outputs, start: int, end: int) -> Outputs:
    rows = np.s_[start:end]
    return Outputs(
        outputs.pooled[rows], outputs.logits[rows], outputs.n_tokens[rows], outputs.n_unknown[rows]
    )


def _settle(results: Sequence[tuple[Work, Computed | Exception]]) -> None:
    """Hands results to the event loops that wait, one call each; a loop that was closed meanwhile waits for nothing."""
    for loop in {work.loop for work, _ in results}:
        its = [(work.future, result) for work, result in results if work.loop is loop]
        try:
            loop.call_soon_threadsafe(_resolve, its)
        except RuntimeError:
            continue


def _resolve(results: Sequence[tuple[asyncio.Future[Computed], Computed | Exception]]) -> None:
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
