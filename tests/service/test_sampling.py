"""Samples reach the stream in blocks; nothing that happens to Redis is felt by a request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import redis
from prometheus_client import REGISTRY

from service.sampling import BLOCK_SAMPLES
from service.valkey import ValkeyServer, start_valkey
from tests.fixtures.deployment import Deployment, RunningApi, deployment, eventually, flushed
from trimtab.ledger import Ledger, feedback, samples
from trimtab.ledger.feedback import FeedbackItem
from trimtab.samples import STREAM, Sample, SampleBlock, SampleStream
from trimtab.settings import SamplesSettings

Change = Callable[..., Deployment]


def blocks_of(client: redis.Redis) -> list[SampleBlock]:
    entries: Any = client.xrange(STREAM)
    return [SampleBlock.from_json(fields[b"block"]) for _, fields in entries]


def samples_in(client: redis.Redis) -> list[Sample]:
    return [sample for block in blocks_of(client) for sample in block.samples]


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("trimtab_samples_dropped_total", {"reason": reason}) or 0.0


@pytest.fixture
def served(toy: Deployment) -> Deployment:
    toy.create_model()
    toy.add_version(1)
    return toy


def test_a_sample_is_what_was_answered(served: Deployment, redis_client: redis.Redis) -> None:
    with served.running() as api:
        inputs = ["a good film", {"text": "bad\x00battery", "domain": "phones", "group": "review-7"}]
        answer = api.predict(inputs).json()
        sent = eventually(lambda: samples_in(redis_client), "the samples")
        bundle = api.serving.routing.table.routes["toy"].champion
    texts = ["a good film", "bad\x00battery"]
    rows = bundle.feature_map.rows(bundle.predict(texts), texts)
    assert [sample.prediction_id for sample in sent] == [item["id"] for item in answer["predictions"]]
    assert [sample.label for sample in sent] == [item["label"] for item in answer["predictions"]]
    assert [sample.score for sample in sent] == [item["score"] for item in answer["predictions"]]
    assert [sample.text for sample in sent] == ["a good film", "bad battery"]
    assert [(s.domain, s.group) for s in sent] == [(None, None), ("phones", "review-7")]
    assert {(s.model, s.version, s.generation, s.client) for s in sent} == {("toy", 1, 1, "anonymous")}
    assert np.allclose([sample.features for sample in sent], rows, atol=1e-5)
    assert len(sent[0].features) == len(bundle.feature_map.names)


def test_what_is_sampled_can_be_ingested_and_joined(served: Deployment, redis_client: redis.Redis) -> None:
    with served.running() as api:
        answer = api.predict(["a good film", "boring"]).json()
        first = answer["predictions"][0]["id"]
        eventually(lambda: samples_in(redis_client), "the samples")
    stream = SampleStream(redis_client)
    with served.ledger.begin() as tx:
        assert samples.ingest(tx, stream.read("monitor-1", block_ms=1)) == 2
        item = FeedbackItem(prediction_id=first, label="negative")
        assert feedback.record_feedback(tx, [item]).joined == 1


def test_blocks_are_bounded_and_everything_arrives(served: Deployment, redis_client: redis.Redis) -> None:
    with served.running() as api:
        for _ in range(20):
            assert api.predict(["film"] * 32).status_code == 200
        eventually(lambda: len(samples_in(redis_client)) == 640, "all samples")
    sizes = [len(block.samples) for block in blocks_of(redis_client)]
    assert max(sizes) <= BLOCK_SAMPLES
    assert len({block.block_id for block in blocks_of(redis_client)}) == len(sizes)
    assert len({sample.prediction_id for sample in samples_in(redis_client)}) == 640


def test_what_waits_is_published_before_the_end(served: Deployment, redis_client: redis.Redis) -> None:
    with served.running() as api:
        api.predict(["film"] * 3)
    assert len(samples_in(redis_client)) == 3


def test_without_retention_no_text_leaves_the_process(served: Deployment, redis_client: redis.Redis) -> None:
    served.settings = served.settings.model_copy(update={"samples": SamplesSettings(retention="0")})
    with served.running() as api:
        api.predict("a private matter")
    assert [sample.text for sample in samples_in(redis_client)] == [None]
    assert b"private" not in b"".join(fields[b"block"] for _, fields in _entries(redis_client))


def _entries(client: redis.Redis) -> Any:
    return client.xrange(STREAM)


@pytest.mark.parametrize(("rate", "least", "most"), [(0.0, 0, 0), (0.5, 60, 140), (1.0, 200, 200)])
def test_only_a_share_is_sampled(
    served: Deployment, redis_client: redis.Redis, rate: float, least: int, most: int
) -> None:
    served.settings = served.settings.model_copy(update={"samples": SamplesSettings(rate=rate)})
    with served.running() as api:
        for _ in range(10):
            api.predict(["film"] * 20)
    # Binomial with n = 200, p = 0.5: 60..140 is 5.6 standard deviations.
    assert least <= len(samples_in(redis_client)) <= most


def test_predictions_go_on_without_redis_and_samples_come_back_with_it(
    tmp_path: Path, tiny_base_dir: Path
) -> None:
    with TemporaryDirectory(prefix="tt-") as short:
        socket, data, log = Path(short) / "v.sock", tmp_path / "valkey", tmp_path / "valkey.log"
        server = start_valkey(socket, data=data, log=log)
        with deployment(tmp_path, tiny_base_dir, server.url) as toy:
            toy.create_model()
            toy.add_version(1)
            with toy.running() as api:
                _lose_and_find_redis(api, toy.ledger, server, (socket, data, log))


def _lose_and_find_redis(
    api: RunningApi, ledger: Ledger, server: ValkeyServer, place: tuple[Path, Path, Path]
) -> None:
    before = dropped("redis_down")
    assert api.predict("film").status_code == 200
    server.stop()
    durations = [api.predict("film").elapsed.total_seconds() for _ in range(20)]
    assert max(durations) < 1.0
    eventually(lambda: dropped("redis_down") >= before + 20, "the count of what was dropped")
    assert api.is_ready()
    socket, data, log = place
    again = start_valkey(socket, data=data, log=log)
    try:
        client = redis.Redis.from_url(again.url)
        api.predict("a new film")
        eventually(lambda: any(s.text == "a new film" for s in samples_in(client)), "samples again")
        client.close()
    finally:
        again.stop()


def test_a_full_ring_drops_the_oldest(tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer) -> None:
    few = SamplesSettings(ring=10)
    before = dropped("ring_full")
    with deployment(tmp_path, tiny_base_dir, flushed(valkey.url), samples=few) as toy:
        toy.create_model()
        toy.add_version(1)
        with toy.running() as api:
            assert api.predict(["film"] * 32).status_code == 200
    assert dropped("ring_full") == before + 32
