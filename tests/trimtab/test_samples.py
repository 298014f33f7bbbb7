"""The sample stream on a real Valkey: nothing lost, nothing twice in order, garbage skipped."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from trimtab.samples import GROUP, STREAM, Sample, SampleBlock, SampleStream

SAMPLE = Sample(
    prediction_id="r:0", model="toy", version=2, generation=5, text="so good \u00fc \U0001f600",
    label="positive", score=0.75, domain=None, group="g",
    client="anonymous", observed_at=12.5, features=(0.5, -1.25, 3.0),
)  # fmt: skip


def block_of(name: str, n: int = 2) -> SampleBlock:
    return SampleBlock(
        name, "replica-1", tuple(replace(SAMPLE, prediction_id=f"{name}:{i}") for i in range(n))
    )


@given(st.text(), st.floats(0, 1), st.lists(st.floats(width=32, allow_nan=False), max_size=5))
def test_a_block_survives_the_round_trip(text: str, score: float, features: list[float]) -> None:
    block = SampleBlock("b", "r", (replace(SAMPLE, text=text, score=score, features=tuple(features)),))
    assert SampleBlock.from_json(block.to_json()) == block


@given(st.none() | st.tuples(st.integers(1, 9), st.text(), st.floats(0, 1)))
def test_an_unseen_answer_survives_the_round_trip(shadow: tuple[int, str, float] | None) -> None:
    block = SampleBlock("b", "r", (replace(SAMPLE, shadow=shadow),))
    assert SampleBlock.from_json(block.to_json()) == block


def test_a_replica_of_an_older_release_sends_no_unseen_answer() -> None:
    content = json.loads(SampleBlock("b", "r", (SAMPLE,)).to_json())
    del content["samples"][0]["shadow"]
    assert SampleBlock.from_json(json.dumps(content)).samples == (SAMPLE,)


def test_blocks_come_in_order_and_once_acknowledged_never_again(redis_client: redis.Redis) -> None:
    stream = SampleStream(redis_client)
    sent = [block_of(f"b{i}") for i in range(5)]
    for block in sent:
        stream.publish(block)
    read = stream.read("m1", count=3, block_ms=10)
    assert [block for _, block in read] == sent[:3]
    stream.ack([stream_id for stream_id, _ in read])
    assert [block for _, block in stream.read("m1", block_ms=10)] == sent[3:]


def test_what_was_not_acknowledged_is_read_again_after_a_crash(redis_client: redis.Redis) -> None:
    stream = SampleStream(redis_client)
    stream.publish(block_of("b"))
    first = stream.read("m1", block_ms=10)
    assert stream.read("m1", block_ms=10) == first
    stream.ack([stream_id for stream_id, _ in first])
    assert stream.read("m1", block_ms=10) == []


def test_another_consumer_takes_over_what_a_dead_one_left(redis_client: redis.Redis) -> None:
    stream = SampleStream(redis_client)
    stream.publish(block_of("b"))
    left = stream.read("dead", block_ms=10)
    assert stream.read("alive", block_ms=10, claim_idle_ms=60_000) == []
    assert stream.read("alive", block_ms=10, claim_idle_ms=0) == left


def test_entries_that_are_no_blocks_are_skipped_for_good(redis_client: redis.Redis) -> None:
    stream = SampleStream(redis_client)
    for fields in ({"block": "not json"}, {"other": "x"}, {"block": "{}"}):
        redis_client.xadd(STREAM, dict(fields.items()))
    stream.publish(block_of("good"))
    assert [block.block_id for _, block in stream.read("m1", block_ms=10)] == ["good"]
    assert redis_client.xpending(STREAM, GROUP)["pending"] == 1


def test_lag_is_the_age_of_the_oldest_open_block(redis_client: redis.Redis) -> None:
    stream = SampleStream(redis_client)
    assert stream.lag_s() == 0.0
    assert stream.read("m1", block_ms=1) == []
    assert stream.lag_s() == 0.0
    redis_client.xadd(STREAM, {"block": block_of("old").to_json()}, id="1000-0")
    assert stream.lag_s() > 1e6  # published, in stream time, shortly after 1970
    read = stream.read("m1", block_ms=10)
    assert stream.lag_s() > 1e6  # read, but not acknowledged
    stream.ack([stream_id for stream_id, _ in read])
    assert stream.lag_s() == 0.0


def test_the_stream_is_bounded(redis_client: redis.Redis) -> None:
    stream = SampleStream(redis_client, maxlen=100)
    for i in range(500):
        stream.publish(block_of(f"b{i}", n=1))
    assert redis_client.xlen(STREAM) < 300


def test_without_redis_it_says_so() -> None:
    stream = SampleStream(redis.Redis.from_url("unix:///nowhere/valkey.sock"))
    with pytest.raises(redis.RedisError):
        stream.publish(block_of("b"))
