"""Samples of the traffic on their way to the monitor: a bounded ring, and a thread that publishes it in blocks.

Offering never waits and never fails; what does not fit, or cannot be published, is dropped and counted. The thread
also asks the version on trial, if there is one and there is time.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import redis

from service.engine import Prediction
from service.shadow import Shadow
from service.threads import use_threads
from trimtab import metrics
from trimtab.samples import Sample, SampleBlock, SampleStream

BLOCK_SAMPLES = 200
BLOCK_S = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """A request that was answered: what the samples are made of, later and elsewhere."""

    request_id: str
    client: str
    prediction: Prediction
    texts: Sequence[str]
    # (n,) as the client named them.
    domains: Sequence[str | None]
    groups: Sequence[str | None]
    observed_at: float = field(default_factory=time.time)


class Sampler:
    """Owns the ring and the publishing thread."""

    def __init__(
        self,
        stream: SampleStream,
        shadow: Shadow,
        *,
        replica: str,
        rate: float,
        keep_text: bool,
        capacity: int,
    ) -> None:
        """rate: share of items that become samples; capacity: items that the ring holds at most."""
        self._stream = stream
        self._shadow = shadow
        self._replica = replica
        self._rate = rate
        self._keep_text = keep_text
        self._capacity = capacity
        self._ring: deque[Answered] = deque()
        self._n_items = 0
        self._changed = threading.Condition()
        self._closed = False
        self._redis_up = True
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Publishes what is left, ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def offer(self, answered: Answered) -> None:
        """Takes an answered request in; the oldest ones make room."""
        if self._rate <= 0.0:
            return
        with self._changed:
            self._ring.append(answered)
            self._n_items += len(answered.texts)
            while self._n_items > self._capacity:
                dropped = len(self._ring.popleft().texts)
                self._n_items -= dropped
                metrics.SAMPLES_DROPPED.labels("ring_full").inc(dropped)
            if self._n_items >= BLOCK_SAMPLES:
                self._changed.notify_all()

    def _run(self) -> None:
        # The version on trial must not take the cores from those who answer.
        use_threads(1)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._n_items >= BLOCK_SAMPLES or self._closed, BLOCK_S)
                closed = self._closed
            while answered := self._take():
                self._publish(answered)
            if closed:
                return

    def _take(self) -> list[Answered]:
        """Requests with together at most BLOCK_SAMPLES items (or one request)."""
        with self._changed:
            taken: list[Answered] = []
            n_items = 0
            while self._ring and (not taken or n_items + len(self._ring[0].texts) <= BLOCK_SAMPLES):
                taken.append(self._ring.popleft())
                n_items += len(taken[-1].texts)
            self._n_items -= n_items
            return taken

    def _publish(self, answered: Sequence[Answered]) -> None:
        samples = [sample for each in answered for sample in self._samples(each)]
        if not samples:
            return
        try:
            self._stream.publish(SampleBlock(uuid.uuid4().hex, self._replica, tuple(samples)))
        except (redis.RedisError, OSError) as error:
            metrics.SAMPLES_DROPPED.labels("redis_down").inc(len(samples))
            self._note(up=False, reason=type(error).__name__)
        else:
            self._note(up=True)

    def _samples(self, answered: Answered) -> list[Sample]:
        """The chosen ones, with what the version on trial would have answered."""
        chosen = [i for i in range(len(answered.texts)) if self._chosen()]
        samples = samples_of(answered, keep_text=self._keep_text)
        shadows = self._shadow.answers(
            answered.prediction.bundle,
            [answered.texts[i] for i in chosen],
            [answered.domains[i] for i in chosen],
            self._has_room,
        )
        return [replace(samples[i], shadow=shadow) for i, shadow in zip(chosen, shadows, strict=True)]

    def _has_room(self) -> bool:
        """Whether the ring can take what comes while this thread does something else."""
        return self._n_items < self._capacity / 2 and not self._closed

    def _chosen(self) -> bool:
        return self._rate >= 1.0 or random.random() < self._rate

    def _note(self, *, up: bool, reason: str = "") -> None:
        """One log line a change, not one a block."""
        if up != self._redis_up:
            self._redis_up = up
            _log.warning("samples are %s", "published again" if up else "dropped", extra={"reason": reason})


def samples_of(answered: Answered, *, keep_text: bool) -> list[Sample]:
    """One sample an item; their features come from the pass that answered."""
    prediction, bundle = answered.prediction, answered.prediction.bundle
    features = bundle.feature_map.rows(prediction.outputs, answered.texts)
    labels, scores = prediction.labels, prediction.scores
    return [
        Sample(
            prediction_id=item_id(answered.request_id, i),
            model=bundle.model,
            version=bundle.version,
            generation=prediction.generation,
            # PostgreSQL keeps no NUL in a text.
            text=text.replace("\0", " ") if keep_text else None,
            label=labels[i],
            score=scores[i],
            domain=answered.domains[i],
            group=answered.groups[i],
            client=answered.client,
            observed_at=answered.observed_at,
            features=tuple(features[i].tolist()),
        )
        for i, text in enumerate(answered.texts)
    ]


def item_id(request_id: str, index: int) -> str:
    """The id of one item of a request, everywhere."""
    return f"{request_id}:{index}"
