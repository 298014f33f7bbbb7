"""More than can be served: refused early with an honest time, and nothing computed that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from service.batching import Batcher
from tests.fixtures.batchers import TEXTS, ask, batcher, batches, build, queued, sample
from tests.fixtures.deployment import eventually
from trimtab.base import BaseModel, load_base
from trimtab.bundle import ModelBundle
from trimtab.errors import DeadlineExceeded, Overloaded


@pytest.fixture(scope="module")
def base(tiny_base_dir: Path) -> BaseModel:
    return load_base(str(tiny_base_dir), "cpu")


@pytest.fixture(scope="module")
def bundle(base: BaseModel) -> ModelBundle:
    return build(base, 1)


def test_a_full_queue_refuses_and_says_when_to_come_back(bundle: ModelBundle) -> None:
    gate, before = threading.Event(), sample("rejected_total", reason="queue_full")

    async def fill(made: Batcher) -> None:
        first = asyncio.ensure_future(ask(made, bundle, TEXTS[:8]))
        await queued(made, 8)
        with pytest.raises(Overloaded, match="8 items with") as refused:
            await ask(made, bundle, TEXTS[:3])
        assert refused.value.retry_after_s > 0
        second = asyncio.ensure_future(ask(made, bundle, TEXTS[:2]))
        await queued(made, 10)
        gate.set()
        await asyncio.gather(first, second)

    with batcher(gate=gate, max_queue_items=10) as made:
        asyncio.run(fill(made))
    assert sample("rejected_total", reason="queue_full") == before + 1


def test_who_filled_the_queue_is_refused_in_favour_of_others(bundle: ModelBundle) -> None:
    gate = threading.Event()

    async def crowd(made: Batcher) -> None:
        greedy = [asyncio.ensure_future(ask(made, bundle, TEXTS[:5], client="greedy")) for _ in range(2)]
        await queued(made, 10)
        modest = asyncio.ensure_future(ask(made, bundle, TEXTS[:1], client="modest"))
        with pytest.raises(Overloaded, match="others"):
            await greedy[1]
        gate.set()
        assert (await modest).logits.shape == (1, 2)
        assert (await greedy[0]).logits.shape == (5, 2)

    with batcher(gate=gate, max_queue_items=10) as made:
        asyncio.run(crowd(made))


def test_what_cannot_be_in_time_is_refused_with_the_time_to_wait(bundle: ModelBundle) -> None:
    """By the pace that was measured: the engine is held in a batch, so what is queued is what is ahead."""
    before = sample("rejected_total", reason="estimated_wait")
    held, entered = threading.Event(), threading.Event()

    async def overload(made: Batcher) -> None:
        await ask(made, bundle, TEXTS)
        pace = made._pace[bundle.base.digest]
        slow = holding(bundle, entered, held)
        first = asyncio.ensure_future(ask(made, slow, TEXTS[:1]))
        await asyncio.to_thread(entered.wait)
        second = asyncio.ensure_future(ask(made, bundle, TEXTS, 1e6))
        await queued(made, len(TEXTS))
        ahead_s, cost_s = (pace * bundle.encode(texts).n_tokens for texts in (TEXTS, TEXTS[:10]))
        limit_s = cost_s + 0.01 * ahead_s
        with pytest.raises(Overloaded, match="expected wait") as refused:
            await ask(made, bundle, TEXTS[:10], limit_s)
        assert 0.9 * ahead_s < refused.value.retry_after_s < 2.5 * ahead_s
        held.set()
        await asyncio.gather(first, second)
        # An idle engine takes what it may not finish in time: nothing is won by coming back later.
        with pytest.raises(DeadlineExceeded):
            await ask(made, bundle, TEXTS, cost_s / 1000)

    with batcher(max_queue_items=500) as made:
        asyncio.run(overload(made))
    assert sample("rejected_total", reason="estimated_wait") == before + 1


def holding(bundle: ModelBundle, entered: threading.Event, held: threading.Event) -> ModelBundle:
    """A bundle whose pass stops in the encoder until it is let go."""

    class Holding(torch.nn.Module):
        def forward(self, **more: Any) -> Any:
            entered.set()
            held.wait(30)
            return bundle.encoder(**more)

    return ModelBundle(**(vars(bundle) | {"encoder": Holding()}))


def test_past_its_deadline_a_request_is_not_computed(bundle: ModelBundle) -> None:
    gate, before = threading.Event(), batches()

    async def wait_in_vain(made: Batcher) -> None:
        with pytest.raises(DeadlineExceeded, match=r"0\.01 s"):
            await ask(made, bundle, TEXTS[:4], 0.01)
        assert made.queued_items() == 0

    with batcher(gate=gate) as made:
        asyncio.run(wait_in_vain(made))
    assert batches() == before


def test_the_engine_drops_what_expired_while_the_event_loop_was_busy(bundle: ModelBundle) -> None:
    gate, before = threading.Event(), batches()

    async def blocked(made: Batcher) -> None:
        asking = asyncio.ensure_future(ask(made, bundle, TEXTS[:4], 0.01))
        await asyncio.wait([asking], timeout=0)
        assert made.queued_items() == 4
        threading.Event().wait(0.02)  # the loop itself is held, so no timer can take the request out
        gate.set()
        eventually(lambda: made.queued_items() == 0, "the drop")
        with pytest.raises(DeadlineExceeded):
            await asking

    with batcher(gate=gate) as made:
        asyncio.run(blocked(made))
    assert batches() == before


def test_a_cancelled_request_leaves_the_queue(bundle: ModelBundle) -> None:
    gate = threading.Event()

    async def give_up(made: Batcher) -> None:
        waiting = asyncio.ensure_future(ask(made, bundle, TEXTS[:4]))
        await queued(made, 4)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert made.queued_items() == 0

    with batcher(gate=gate) as made:
        asyncio.run(give_up(made))
