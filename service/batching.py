"""Continuous micro-batching: one inference thread takes what waits whenever it is free, and never waits for more.

A batch holds requests of one bundle only, so an answer cannot mix versions; a request pins its bundle when it is
admitted. Requests that nobody waits for any more leave the queue before they cost anything.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from trimtab import metrics
from trimtab.bundle import ModelBundle
from trimtab.errors import DeadlineExceeded, NotReady, Overloaded
from trimtab.features import Outputs


@dataclass(eq=False)
class Work:
    """One request's texts on their way through the queue."""

    bundle: ModelBundle
    texts: Sequence[str]
    future: asyncio.Future[Outputs]
    loop: asyncio.AbstractEventLoop
    queued_at: float = field(default_factory=time.monotonic)


class Batcher:
    """A bounded queue in front of one inference thread."""

    def __init__(
        self, *, max_queue_items: int, max_batch_items: int, on_start: Callable[[], object] = lambda: None
    ) -> None:
        """on_start runs first in the inference thread (thread counts are per thread in torch)."""
        self._max_queue_items = max_queue_items
        self._max_batch_items = max_batch_items
        self._on_start = on_start
        self._changed = threading.Condition()
        self._waiting: list[Work] = []
        self._running: list[Work] = []
        self._closed = False
        # Items a second, a moving average over batches; for Retry-After.
        self._rate = float(max_batch_items)
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Finishes the batch that runs, refuses what waits, ends the thread."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        for work in waiting:
            _settle(work, NotReady("the server is stopping"))
        self._thread.join(timeout_s)

    async def submit(self, bundle: ModelBundle, texts: Sequence[str], deadline_s: float) -> Outputs:
        """Outputs of n texts, in their order.

        Raises:
            Overloaded: the queue is full; `retry_after_s` is an estimate from the measured rate.
            DeadlineExceeded: not answered within deadline_s seconds.
            NotReady: the server is stopping.
        """
        loop = asyncio.get_running_loop()
        work = Work(bundle, texts, loop.create_future(), loop)
        self._admit(work)
        try:
            async with asyncio.timeout(deadline_s):
                return await work.future
        except TimeoutError:
            metrics.REJECTED.labels("deadline").inc()
            raise DeadlineExceeded(f"not answered within {deadline_s:g} s") from None
        finally:
            self._forget(work)

    def queued_items(self) -> int:
        """Items that wait, without those that are being computed."""
        with self._changed:
            return _n_items(self._waiting)

    def wait_unused(self, bundle: ModelBundle, timeout_s: float) -> bool:
        """Whether, within timeout_s seconds, no request on this bundle was waiting or running any more."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._uses(bundle), timeout_s)

    def _uses(self, bundle: ModelBundle) -> bool:
        return any(work.bundle is bundle for work in itertools.chain(self._waiting, self._running))

    def _admit(self, work: Work) -> None:
        with self._changed:
            if self._closed:
                raise NotReady("the server is stopping")
            ahead = _n_items(self._waiting)
            if ahead + len(work.texts) > self._max_queue_items:
                metrics.REJECTED.labels("queue_full").inc()
                error = Overloaded(f"{ahead} of at most {self._max_queue_items} items are waiting")
                error.retry_after_s = ahead / self._rate
                raise error
            self._waiting.append(work)
            self._changed.notify_all()

    def _forget(self, work: Work) -> None:
        """Whoever waited is gone (answer, deadline or disconnect): what was not computed will not be."""
        with self._changed:
            if work in self._waiting:
                self._waiting.remove(work)
                self._changed.notify_all()

    def _run(self) -> None:
        self._on_start()
        while batch := self._take():
            self._compute(batch)
            with self._changed:
                self._running = []
                self._changed.notify_all()

    def _take(self) -> list[Work]:
        """The oldest request and those behind it on the same bundle, up to the batch size; empty when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            self._running = _same_bundle(self._waiting, self._max_batch_items)
            taken = set(map(id, self._running))
            self._waiting = [work for work in self._waiting if id(work) not in taken]
            return self._running

    def _compute(self, batch: list[Work]) -> None:
        bundle, started = batch[0].bundle, time.monotonic()
        for work in batch:
            metrics.QUEUE_DURATION.labels(bundle.model).observe(started - work.queued_at)
        try:
            outputs = bundle.predict([text for work in batch for text in work.texts])
        except Exception as error:  # noqa: BLE001  # handed to whoever waits for it; the thread goes on
            for work in batch:
                _settle(work, error)
            return
        self._account(bundle, len(outputs.logits), time.monotonic() - started)
        start = 0
        for work in batch:
            end = start + len(work.texts)
            _settle(work, _part(outputs, start, end))
            start = end

    def _account(self, bundle: ModelBundle, n_items: int, duration_s: float) -> None:
        metrics.BATCH_SIZE.labels(bundle.model).observe(n_items)
        metrics.INFERENCE_DURATION.labels(bundle.model).observe(duration_s)
        self._rate += 0.1 * (n_items / max(duration_s, 1e-6) - self._rate)


def use_threads(n: int) -> None:
    """Sets the compute threads of the calling thread, and of no other.

    The first use of torch in a thread takes over what any thread set last; asking first gets that over with.
    """
    torch.get_num_threads()
    torch.set_num_threads(n)


def _same_bundle(waiting: Sequence[Work], max_items: int) -> list[Work]:
    chosen, n_items = [waiting[0]], len(waiting[0].texts)
    for work in waiting[1:]:
        if work.bundle is waiting[0].bundle and n_items + len(work.texts) <= max_items:
            chosen.append(work)
            n_items += len(work.texts)
    return chosen


def _part(outputs: Outputs, start: int, end: int) -> Outputs:
    rows = np.s_[start:end]
    return Outputs(
        outputs.pooled[rows], outputs.logits[rows], outputs.n_tokens[rows], outputs.n_unknown[rows]
    )


def _n_items(works: Sequence[Work]) -> int:
    return sum(len(work.texts) for work in works)


def _settle(work: Work, result: Outputs | Exception) -> None:
    """Hands the result to the event loop that waits; a loop that was closed meanwhile waits for nothing."""
    try:
        work.loop.call_soon_threadsafe(_resolve, work.future, result)
    except RuntimeError:
        return


def _resolve(future: asyncio.Future[Outputs], result: Outputs | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
