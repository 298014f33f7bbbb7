"""The queue in front of the engine: order, bounds, deadlines, and nobody's work done in vain."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import REGISTRY

from service.batching import Batcher, use_threads
from tests.fixtures.deployment import eventually
from tests.fixtures.versions import make_version
from trimtab.adapter import verify
from trimtab.base import BaseModel, load_base
from trimtab.bundle import ModelBundle, build_bundle
from trimtab.errors import DeadlineExceeded, NotReady, Overloaded
from trimtab.features import Outputs

KEY = Ed25519PrivateKey.generate()
TEXTS = [f"{'good film ' * (i % 7)}bad {i}" for i in range(40)]


@pytest.fixture(scope="module")
def base(tiny_base_dir: Path) -> BaseModel:
    return load_base(str(tiny_base_dir), "cpu")


@pytest.fixture(scope="module")
def bundle(base: BaseModel) -> ModelBundle:
    return build(base, 1)


def build(base: BaseModel, n: int) -> ModelBundle:
    files = make_version(base, KEY, version=n, seed=n)
    return build_bundle(base, files, manifest=verify(files, KEY.public_key()), digest=str(n))


@contextmanager
def batcher(*, gate: threading.Event | None = None, **limits: int) -> Iterator[Batcher]:
    """A batcher whose thread begins when the gate opens (at once without one)."""
    made = Batcher(
        **({"max_queue_items": 64, "max_batch_items": 32} | limits),
        on_start=gate.wait if gate else threading.Event().clear,
    )
    made.start()
    try:
        yield made
    finally:
        if gate:
            gate.set()
        made.close(5)


async def queued(made: Batcher, n_items: int) -> None:
    await asyncio.to_thread(eventually, lambda: made.queued_items() >= n_items, "the queue")


def batches_of(n: float) -> float:
    return REGISTRY.get_sample_value("trimtab_batch_size_count", {"model": "toy"}) or n


def test_answers_are_those_of_the_bundle_in_order(bundle: ModelBundle) -> None:
    async def ask(made: Batcher) -> list[Outputs]:
        return await asyncio.gather(*(made.submit(bundle, [text], 10) for text in TEXTS))

    expected = bundle.predict(TEXTS).logits
    with batcher() as made:
        answers = asyncio.run(ask(made))
    assert np.abs(np.vstack([answer.logits for answer in answers]) - expected).max() < 1e-5
    assert [answer.logits.shape for answer in answers] == [(1, 2)] * len(TEXTS)


def test_alone_an_answer_is_exact(bundle: ModelBundle) -> None:
    with batcher() as made:
        once, again = (asyncio.run(made.submit(bundle, TEXTS[:1], 10)) for _ in range(2))
    assert np.array_equal(once.logits, again.logits)
    assert np.array_equal(once.logits, bundle.predict(TEXTS[:1]).logits)


def test_what_waits_is_taken_together_and_versions_are_not_mixed(
    base: BaseModel, bundle: ModelBundle
) -> None:
    other, gate = build(base, 2), threading.Event()

    async def ask(made: Batcher) -> list[Outputs]:
        asked = [made.submit([bundle, other][i % 2], [TEXTS[i]], 10) for i in range(10)]
        together = asyncio.gather(*asked)
        await queued(made, 10)
        gate.set()
        return await together

    before = batches_of(0)
    with batcher(gate=gate) as made:
        answers = asyncio.run(ask(made))
    assert batches_of(0) - before == 2
    for i, answer in enumerate(answers):
        assert np.abs(answer.logits - [bundle, other][i % 2].predict([TEXTS[i]]).logits).max() < 1e-5


def test_a_batch_is_bounded(bundle: ModelBundle) -> None:
    gate = threading.Event()

    async def ask(made: Batcher) -> None:
        together = asyncio.gather(*(made.submit(bundle, TEXTS[:3], 10) for _ in range(5)))
        await queued(made, 15)
        gate.set()
        await together

    before = batches_of(0)
    with batcher(gate=gate, max_batch_items=7) as made:
        asyncio.run(ask(made))
    assert batches_of(0) - before == 3  # 6 + 6 + 3


def test_a_full_queue_refuses_and_says_when_to_come_back(bundle: ModelBundle) -> None:
    gate = threading.Event()

    async def ask(made: Batcher) -> None:
        first = asyncio.ensure_future(made.submit(bundle, TEXTS[:8], 10))
        await queued(made, 8)
        with pytest.raises(Overloaded, match="8 of at most 10") as refused:
            await made.submit(bundle, TEXTS[:3], 10)
        assert refused.value.retry_after_s > 0
        second = asyncio.ensure_future(made.submit(bundle, TEXTS[:2], 10))
        await queued(made, 10)
        gate.set()
        await asyncio.gather(first, second)

    with batcher(gate=gate, max_queue_items=10) as made:
        asyncio.run(ask(made))


def test_past_its_deadline_a_request_is_not_computed(bundle: ModelBundle) -> None:
    gate = threading.Event()

    async def ask(made: Batcher) -> None:
        with pytest.raises(DeadlineExceeded, match=r"0\.01 s"):
            await made.submit(bundle, TEXTS[:4], 0.01)
        assert made.queued_items() == 0

    before = batches_of(0)
    with batcher(gate=gate) as made:
        asyncio.run(ask(made))
    assert batches_of(0) == before


def test_a_cancelled_request_leaves_the_queue(bundle: ModelBundle) -> None:
    gate = threading.Event()

    async def ask(made: Batcher) -> None:
        waiting = asyncio.ensure_future(made.submit(bundle, TEXTS[:4], 10))
        await queued(made, 4)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert made.queued_items() == 0

    with batcher(gate=gate) as made:
        asyncio.run(ask(made))


def test_a_failing_batch_fails_its_requests_only(base: BaseModel, bundle: ModelBundle) -> None:
    broken = build(base, 3)
    object.__setattr__(broken, "head_weight", torch.zeros(2, 5))

    async def ask(made: Batcher) -> None:
        with pytest.raises(RuntimeError):
            await made.submit(broken, TEXTS[:1], 10)
        assert (await made.submit(bundle, TEXTS[:1], 10)).logits.shape == (1, 2)

    with batcher() as made:
        asyncio.run(ask(made))


def test_closing_refuses_what_waits_and_what_comes(bundle: ModelBundle) -> None:
    gate = threading.Event()

    async def ask(made: Batcher) -> None:
        waiting = asyncio.ensure_future(made.submit(bundle, TEXTS[:1], 10))
        await queued(made, 1)
        closing = asyncio.get_running_loop().run_in_executor(None, made.close, 5)
        with pytest.raises(NotReady, match="stopping"):
            await waiting
        gate.set()
        await closing
        with pytest.raises(NotReady, match="stopping"):
            await made.submit(bundle, TEXTS[:1], 10)

    with batcher(gate=gate) as made:
        asyncio.run(ask(made))


def test_a_bundle_is_unused_when_its_last_request_is_answered(base: BaseModel, bundle: ModelBundle) -> None:
    gate, other = threading.Event(), build(base, 2)

    async def ask(made: Batcher) -> None:
        waiting = asyncio.ensure_future(made.submit(bundle, TEXTS[:1], 10))
        await queued(made, 1)
        assert made.wait_unused(other, 0)
        assert not made.wait_unused(bundle, 0.01)
        drained = asyncio.get_running_loop().run_in_executor(None, made.wait_unused, bundle, 10)
        gate.set()
        await waiting
        assert await drained

    with batcher(gate=gate) as made:
        asyncio.run(ask(made))


def test_what_is_set_per_thread_is_set_in_the_inference_thread(bundle: ModelBundle) -> None:
    started: list[str] = []
    made = Batcher(
        max_queue_items=8,
        max_batch_items=8,
        on_start=lambda: started.append(threading.current_thread().name),
    )
    made.start()
    asyncio.run(made.submit(bundle, TEXTS[:1], 10))
    made.close(5)
    assert started == ["inference"]


def test_torch_counts_threads_per_thread() -> None:
    """What the follower relies on: it takes one thread for itself and leaves the engine's alone."""
    counts: dict[str, int] = {}
    chosen, changed = threading.Event(), threading.Event()

    def engine() -> None:
        use_threads(2)
        chosen.set()
        changed.wait()
        counts["engine"] = torch.get_num_threads()

    thread = threading.Thread(target=engine)
    thread.start()
    chosen.wait()
    use_threads(1)
    changed.set()
    thread.join()
    assert counts == {"engine": 2}
