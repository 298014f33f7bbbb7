"""The inference thread and what it answers: order, bounds, deadlines, purity, and nobody's work done in vain."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching import Batcher, split
from tests.fixtures.batchers import TEXTS, ask, batcher, batches, build, queued, released
from tests.fixtures.deployment import eventually
from trimtab.base import BaseModel, Encoded, load_base
from trimtab.bundle import ModelBundle
from trimtab.errors import DeadlineExceeded, NotReady
from trimtab.features import Outputs
from trimtab.settings import ServerSettings


@pytest.fixture(scope="module")
def base(tiny_base_dir: Path) -> BaseModel:
    return load_base(str(tiny_base_dir), "cpu")


@pytest.fixture(scope="module")
def bundle(base: BaseModel) -> ModelBundle:
    return build(base, 1)


def test_answers_are_those_of_the_bundle_in_order(bundle: ModelBundle) -> None:
    async def all_at_once(made: Batcher) -> list[Outputs]:
        return await asyncio.gather(*(ask(made, bundle, [text]) for text in TEXTS))

    expected = bundle.predict(TEXTS).logits
    with batcher() as made:
        answers = asyncio.run(all_at_once(made))
    assert np.abs(np.vstack([answer.logits for answer in answers]) - expected).max() < 1e-5
    assert [answer.logits.shape for answer in answers] == [(1, 2)] * len(TEXTS)


def test_alone_an_answer_is_exact(bundle: ModelBundle) -> None:
    with batcher() as made:
        once, again = (asyncio.run(ask(made, bundle, TEXTS[:1])) for _ in range(2))
    assert np.array_equal(once.logits, again.logits)
    assert np.array_equal(once.logits, bundle.predict(TEXTS[:1]).logits)


REQUEST = st.tuples(
    st.integers(0, 1),  # version
    st.sampled_from(["a", "b", "c"]),
    st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=9),
    st.sampled_from(["stay", "stay", "stay", "leave", "late"]),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(REQUEST, min_size=1, max_size=12), st.integers(1, 12), st.integers(20, 200))
def test_outputs_order_and_versions_of_concurrent_requests_are_never_mixed(
    pair: list[ModelBundle],
    requests: list[tuple[int, str, list[int], str]],
    max_items: int,
    max_tokens: int,
) -> None:
    """Requests of several clients on two versions, some given up, some too late: each gets its own, or its refusal."""
    gate = threading.Event()

    async def one(made: Batcher, version: int, client: str, chosen: list[int], fate: str) -> Outputs | None:
        texts = [TEXTS[i] for i in chosen]
        asking = asyncio.ensure_future(
            ask(made, pair[version], texts, 1e-9 if fate == "late" else 10, client)
        )
        await asyncio.wait([asking], timeout=0)
        if fate == "leave":
            asking.cancel()
        try:
            return await asking
        except (DeadlineExceeded, asyncio.CancelledError):
            return None

    async def every(made: Batcher) -> list[Outputs | None]:
        asked = [asyncio.ensure_future(one(made, *request)) for request in requests]
        await asyncio.wait(asked, timeout=0)
        gate.set()
        return await asyncio.gather(*asked)

    limits = {"max_queue_items": 200, "max_batch_items": max_items, "max_batch_tokens": max_tokens}
    with batcher(gate=gate, **limits) as made:
        answers = asyncio.run(every(made))
    for (version, _, chosen, fate), answer in zip(requests, answers, strict=True):
        assert (answer is None) == (fate != "stay")
        if answer is not None:
            expected = EXPECTED[version][chosen]
            assert answer.logits.shape == expected.shape
            assert np.abs(answer.logits - expected).max() <= 1e-5


EXPECTED: list[np.ndarray] = []


@pytest.fixture(scope="module")
def pair(base: BaseModel, bundle: ModelBundle) -> list[ModelBundle]:
    """Two versions that differ by much more than the tolerance on every text, so that purity is not empty."""
    made = [bundle, build(base, 2)]
    EXPECTED[:] = [each.predict(TEXTS).logits for each in made]
    assert np.abs(EXPECTED[0] - EXPECTED[1]).max(axis=1).min() > 1e-2
    return made


def test_what_waits_is_taken_together_and_versions_are_not_mixed(pair: list[ModelBundle]) -> None:
    gate, before = threading.Event(), batches()
    with batcher(gate=gate) as made:
        answers = asyncio.run(released(made, gate, *(ask(made, pair[i % 2], [TEXTS[i]]) for i in range(10))))
    assert batches() - before == 2
    for i, answer in enumerate(answers):
        assert np.abs(answer.logits - EXPECTED[i % 2][i]).max() < 1e-5


@pytest.mark.parametrize(
    ("limits", "n_batches"),
    [({"max_batch_items": 7}, 3), ({"max_batch_tokens": 40}, 3), ({"max_batch_tokens": 1}, 15)],
)
def test_a_batch_is_bounded_in_items_and_tokens(
    bundle: ModelBundle, limits: dict[str, int], n_batches: int
) -> None:
    """Five requests of three texts of six tokens each; what is larger than a batch is computed in parts."""
    gate, before = threading.Event(), batches()
    texts = ["good film good film"] * 3
    assert bundle.encode(texts).n_tokens == 18
    with batcher(gate=gate, **limits) as made:
        asyncio.run(released(made, gate, *(ask(made, bundle, texts) for _ in range(5))))
    assert batches() - before == n_batches


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 5), st.integers(1, 20))
def test_parts_are_the_request_in_order_and_within_bounds(
    lengths: list[int], items: int, tokens: int
) -> None:
    encoded = Encoded(tuple([n] * n for n in lengths), tuple(n > 5 for n in lengths))
    parts = split(encoded, items, tokens)
    assert [row for part in parts for row in part.ids] == list(encoded.ids)
    assert [cut for part in parts for cut in part.cut] == list(encoded.cut)
    assert all(len(part) <= items and (part.n_tokens <= tokens or len(part) == 1) for part in parts)
    joined = itertools.pairwise(parts)
    assert all(len(a) == items or a.n_tokens + len(b.ids[0]) > tokens for a, b in joined)


def test_the_request_in_parts_is_one_answer(pair: list[ModelBundle]) -> None:
    with batcher(max_batch_items=3) as made:
        answer = asyncio.run(made.submit(pair[0], pair[0].encode(TEXTS), 10))
    assert np.abs(answer.outputs.logits - EXPECTED[0]).max() < 1e-5
    assert answer.outputs.n_tokens.tolist() == pair[0].predict(TEXTS).n_tokens.tolist()
    assert answer.compute_s > 0


def test_an_idle_engine_does_not_wait_for_company(bundle: ModelBundle) -> None:
    """Even if it could wait for ever: one request after the other, each alone."""

    async def one_by_one(made: Batcher) -> None:
        for text in TEXTS[:5]:
            await ask(made, bundle, [text], 20)

    with batcher(collect_s=1e6) as made:
        asyncio.run(one_by_one(made))


def test_under_load_a_batch_waits_for_as_many_as_the_last_one_had(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batching._LULL_S", 1e6)
    gate, before = threading.Event(), batches()

    async def closed_loop(made: Batcher) -> None:
        await released(made, gate, *(ask(made, bundle, [text]) for text in TEXTS[:3]))
        first = asyncio.ensure_future(ask(made, bundle, TEXTS[:1]))
        await queued(made, 1)
        await asyncio.gather(first, *(ask(made, bundle, [text]) for text in TEXTS[1:3]))

    with batcher(gate=gate, collect_s=1e6) as made:
        asyncio.run(closed_loop(made))
    assert batches() - before == 2


def test_a_failing_batch_fails_its_requests_only(base: BaseModel, bundle: ModelBundle) -> None:
    broken = build(base, 3)
    object.__setattr__(broken, "head_weight", torch.zeros(2, 5))

    async def both(made: Batcher) -> None:
        with pytest.raises(RuntimeError):
            await ask(made, broken, TEXTS[:1])
        assert (await ask(made, bundle, TEXTS[:1])).logits.shape == (1, 2)

    with batcher() as made:
        asyncio.run(both(made))


def test_closing_refuses_what_waits_and_what_comes(bundle: ModelBundle) -> None:
    gate = threading.Event()

    async def stop(made: Batcher) -> None:
        waiting = asyncio.ensure_future(ask(made, bundle, TEXTS[:1]))
        await queued(made, 1)
        closing = asyncio.get_running_loop().run_in_executor(None, made.close, 5)
        with pytest.raises(NotReady, match="stopping"):
            await waiting
        gate.set()
        await closing
        with pytest.raises(NotReady, match="stopping"):
            await ask(made, bundle, TEXTS[:1])

    with batcher(gate=gate) as made:
        asyncio.run(stop(made))


def test_the_last_answer_lets_go_of_the_bundle_without_a_collection(base: BaseModel) -> None:
    """No thread and no failure may keep a version, or two hundred swaps would fill the memory."""
    bundles = [build(base, n) for n in (4, 5)]
    object.__setattr__(bundles[1], "head_weight", torch.zeros(2, 5))
    gone = [weakref.ref(bundle) for bundle in bundles]
    tensors = [weakref.ref(next(bundle.encoder.parameters())) for bundle in bundles]
    own = [
        weakref.ref(dict(b.encoder.named_parameters())["encoder.layer.0.output.dense.weight"])
        for b in bundles
    ]
    refs: list[Callable[[], object]] = [*gone, *own]
    gc.disable()
    try:
        with batcher() as made:
            asyncio.run(failed_or_not(made, bundles))
            bundles.clear()
            eventually(lambda: all(ref() is None for ref in refs), "the end of both versions")
    finally:
        gc.enable()
    assert all(ref() is not None for ref in tensors)  # those are the base's


async def failed_or_not(made: Batcher, bundles: list[ModelBundle]) -> None:
    for i in range(len(bundles)):
        try:
            await ask(made, bundles[i], TEXTS[:3])
        except RuntimeError:
            continue


def test_it_is_idle_while_nothing_waits_and_nothing_is_computed(base: BaseModel) -> None:
    gate, bundle = threading.Event(), build(base, 6)
    seen: list[bool] = []

    def watch(*_: object) -> None:
        seen.append(made.is_idle())

    async def one_that_waits() -> None:
        waiting = asyncio.ensure_future(ask(made, bundle, TEXTS[:1]))
        await queued(made, 1)
        watch()
        gate.set()
        await waiting

    with batcher(gate=gate) as made:
        bundle.encoder.register_forward_pre_hook(watch)
        watch()
        asyncio.run(one_that_waits())
        eventually(made.is_idle, "idleness")
    assert seen == [True, False, False]


def test_what_is_set_per_thread_is_set_in_the_inference_thread(bundle: ModelBundle) -> None:
    started: list[str] = []
    made = Batcher(ServerSettings(), on_start=lambda: started.append(threading.current_thread().name))
    made.start()
    asyncio.run(ask(made, bundle, TEXTS[:1]))
    made.close(5)
    assert started == ["inference"]
