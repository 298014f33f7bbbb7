"""The queue's promises, for any order of arrivals: bounds, turns, no mixing, and nothing lost or doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.queueing import Computed, FairQueue, Work
from tests.fixtures.versions import make_version
from trimtab.adapter import verify
from trimtab.base import BaseModel, Encoded, load_base
from trimtab.bundle import ModelBundle, build_bundle
from trimtab.errors import Overloaded

KEY = Ed25519PrivateKey.generate()
LOOP = asyncio.new_event_loop()


@pytest.fixture(scope="module")
def base(tiny_base_dir: Path) -> BaseModel:
    return load_base(str(tiny_base_dir), "cpu")


@pytest.fixture(scope="module")
def bundles(base: BaseModel) -> tuple[ModelBundle, ModelBundle]:
    return versions_of(base)


def versions_of(base: BaseModel) -> tuple[ModelBundle, ModelBundle]:
    made = [(n, make_version(base, KEY, version=n, seed=n)) for n in (1, 2)]
    one, two = (
        build_bundle(base, files, manifest=verify(files, KEY.public_key()), digest=str(n))
        for n, files in made
    )
    return one, two


@pytest.fixture(autouse=True, scope="module")
def _loop() -> Iterator[None]:
    yield
    LOOP.close()


def work(
    bundle: ModelBundle,
    client: str = "a",
    *,
    lengths: tuple[int, ...] = (4,),
    expires_at: float = 1e9,
    cost_s: float = 1.0,
) -> Work:
    encoded = Encoded(tuple([0] * n for n in lengths), (False,) * len(lengths))
    future: asyncio.Future[Computed] = LOOP.create_future()
    return Work(bundle, encoded, client, expires_at, future, LOOP, cost_s)


def queue_of(*works: Work, max_items: int = 100, max_tokens: int = 1000) -> FairQueue:
    queue = FairQueue(max_items=max_items, max_tokens=max_tokens)
    for each in works:
        queue.add([each])
    return queue


def test_clients_take_turns(bundles: tuple[ModelBundle, ModelBundle]) -> None:
    greedy = [work(bundles[0], "greedy") for _ in range(10)]
    modest = [work(bundles[0], name) for name in ("b", "c")]
    queue = queue_of(*greedy, *modest)
    assert queue.take(max_items=4, max_tokens=1000) == [greedy[0], *modest, greedy[1]]
    late = work(bundles[0], "d")
    queue.add([late])
    assert queue.take(max_items=2, max_tokens=1000) == [greedy[2], late]


def test_a_client_that_was_left_out_comes_first_next_time(bundles: tuple[ModelBundle, ModelBundle]) -> None:
    """Whether it did not fit, or asked for another version."""
    small = [work(bundles[0], "small") for _ in range(6)]
    large = work(bundles[0], "large", lengths=(4, 4, 4))
    other = work(bundles[1], "other")
    queue = queue_of(*small, large, other)
    assert queue.take(max_items=3, max_tokens=1000) == small[:3]
    assert queue.take(max_items=3, max_tokens=1000) == [large]
    assert queue.take(max_items=3, max_tokens=1000) == [other]
    assert queue.take(max_items=3, max_tokens=1000) == small[3:]


def test_one_clients_versions_are_batched_apart_the_oldest_first(
    bundles: tuple[ModelBundle, ModelBundle],
) -> None:
    works = [work(bundles[i % 2]) for i in range(6)]
    queue = queue_of(*works)
    assert queue.take(max_items=9, max_tokens=1000) == works[::2]
    assert queue.take(max_items=9, max_tokens=1000) == works[1::2]
    assert queue.take(max_items=9, max_tokens=1000) == []


def test_what_is_larger_than_a_batch_comes_alone(bundles: tuple[ModelBundle, ModelBundle]) -> None:
    large, small = work(bundles[0], lengths=(50,)), work(bundles[0], "b")
    queue = queue_of(large, small)
    assert queue.take(max_items=9, max_tokens=20) == [large]
    assert queue.take(max_items=9, max_tokens=20) == [small]


@pytest.mark.parametrize(("lengths", "bound"), [((1,), {"max_items": 4}), ((10,), {"max_tokens": 40})])
def test_who_fills_the_queue_makes_way_for_others(
    bundles: tuple[ModelBundle, ModelBundle], lengths: tuple[int, ...], bound: dict[str, int]
) -> None:
    greedy = [work(bundles[0], "greedy", lengths=lengths) for _ in range(4)]
    queue = queue_of(*greedy, **bound)
    with pytest.raises(Overloaded):
        queue.add([work(bundles[0], "greedy", lengths=lengths)])
    assert queue.add([work(bundles[0], "b", lengths=lengths)]) == greedy[3:]
    assert queue.add([work(bundles[0], "c", lengths=lengths)]) == greedy[2:3]
    with pytest.raises(Overloaded):  # nobody holds more than b would
        queue.add([work(bundles[0], "b", lengths=lengths)])
    assert len(queue) == 4


def test_a_request_is_queued_whole_or_not_at_all(bundles: tuple[ModelBundle, ModelBundle]) -> None:
    queue = queue_of(work(bundles[0], "b"), work(bundles[0], "c"), max_items=3)
    with pytest.raises(Overloaded):
        queue.add([work(bundles[0]), work(bundles[0])])
    assert (len(queue), queue.n_items, queue.n_tokens) == (2, 2, 8)


def test_what_nobody_waits_for_is_taken_out(bundles: tuple[ModelBundle, ModelBundle]) -> None:
    works = [work(bundles[0], client, expires_at=at) for client, at in (("a", 1), ("a", 3), ("b", 2))]
    queue = queue_of(*works)
    assert queue.expired(2) == [works[0], works[2]]
    assert queue.remove(works[1])
    assert not queue.remove(works[1])
    assert (len(queue), queue.n_items, queue.n_tokens, list(queue)) == (0, 0, 0, [])


def test_the_expected_wait_counts_turns_not_the_whole_queue(bundles: tuple[ModelBundle, ModelBundle]) -> None:
    queue = queue_of(
        *(work(bundles[0], "greedy", cost_s=2.0) for _ in range(10)), work(bundles[0], "b", cost_s=1.0)
    )
    assert queue.ahead_s("new", 3.0) == 3.0 + 1.0
    assert queue.ahead_s("b", 3.0) == 1.0 + 4.0
    assert queue.ahead_s("greedy", 3.0) == 20.0 + 1.0
    assert queue_of().ahead_s("new", 3.0) == 0.0


def test_room_comes_when_the_excess_is_computed(bundles: tuple[ModelBundle, ModelBundle]) -> None:
    full = queue_of(*(work(bundles[0], cost_s=2.0) for _ in range(4)), max_items=4)
    assert full.room_after_s([work(bundles[0])]) == pytest.approx(2.0)
    assert full.room_after_s([work(bundles[0]) for _ in range(50)]) == pytest.approx(8.0)
    assert queue_of(max_items=4).room_after_s([work(bundles[0])]) == 0.0


class AnyArrivals(RuleBasedStateMachine):
    """Arrivals, departures and batches in any order, against a plain list of what should be waiting."""

    shared: tuple[ModelBundle, ModelBundle]

    @initialize(max_items=st.integers(1, 12), max_tokens=st.integers(4, 60))
    def start(self, max_items: int, max_tokens: int) -> None:
        self.bounds = (max_items, max_tokens)
        self.queue = FairQueue(max_items=max_items, max_tokens=max_tokens)
        self.waiting: list[Work] = []

    @rule(
        client=st.sampled_from("abc"),
        version=st.integers(0, 1),
        parts=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=3),
    )
    def arrive(self, client: str, version: int, parts: list[list[int]]) -> None:
        works = [work(self.shared[version], client, lengths=tuple(lengths)) for lengths in parts]
        held = Counter(each.client for each in self.waiting)
        try:
            gone = self.queue.add(works)
        except Overloaded:
            assert list(self.queue) == self.in_lanes()
            items = sum(each.n_items for each in [*self.waiting, *works])
            tokens = sum(each.n_tokens for each in [*self.waiting, *works])
            assert items > self.bounds[0] or tokens > self.bounds[1]
            return
        assert all(each.client != client and held[each.client] > 0 for each in gone)
        self.waiting = [each for each in self.waiting if each not in gone] + works

    def in_lanes(self) -> list[Work]:
        """What waits, in the queue's order of clients."""
        order = list(dict.fromkeys(each.client for each in self.queue))
        return [each for client in order for each in self.waiting if each.client == client]

    @precondition(lambda self: self.waiting)
    @rule(max_items=st.integers(1, 8), max_tokens=st.integers(1, 40))
    def batch(self, max_items: int, max_tokens: int) -> None:
        turn = next(iter(self.queue)).client
        taken = self.queue.take(max_items=max_items, max_tokens=max_tokens)
        assert taken[0] is next(each for each in self.waiting if each.client == turn)
        assert len({id(each.bundle) for each in taken}) == 1
        items, tokens = sum(each.n_items for each in taken), sum(each.n_tokens for each in taken)
        assert len(taken) == 1 or (items <= max_items and tokens <= max_tokens)
        for client in "abc":  # a client's works on one bundle stay in their order
            mine = [each for each in self.waiting if each.client == client and each.bundle is taken[0].bundle]
            assert [each for each in taken if each.client == client] == mine[
                : sum(e.client == client for e in taken)
            ]
        self.waiting = [each for each in self.waiting if each not in taken]

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        gone = data.draw(st.sampled_from(self.waiting))
        assert self.queue.remove(gone)
        self.waiting.remove(gone)

    @invariant()
    def counts_are_right_and_within_bounds(self) -> None:
        assert set(self.queue) == set(self.waiting)
        assert len(self.queue) == len(self.waiting)
        assert self.queue.n_items == sum(each.n_items for each in self.waiting) <= self.bounds[0]
        assert self.queue.n_tokens == sum(each.n_tokens for each in self.waiting) <= self.bounds[1]


@pytest.fixture(scope="module", autouse=True)
def _shared(bundles: tuple[ModelBundle, ModelBundle]) -> None:
    AnyArrivals.shared = bundles


TestAnyArrivals = AnyArrivals.TestCase
TestAnyArrivals.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
