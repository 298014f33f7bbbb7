"""Samples of the traffic and the Redis stream that carries them from the API replicas to the monitor."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import redis

STREAM = "trimtab:samples"
GROUP = "monitor"


@dataclass(frozen=True)
class Sample:
    """One prediction as the monitor and the worker need it."""

    prediction_id: str
    model: str
    version: int
    generation: int
    # None where the retention setting keeps no text.
    text: str | None
    # The predicted label and its probability.
    label: str
    score: float
    domain: str | None
    group: str | None
    # The API key's name, "anonymous" without authentication.
    client: str
    # Seconds since the epoch.
    observed_at: float
    # A row of trimtab.features.FeatureMap of the version that answered.
    features: tuple[float, ...]
    # What a version on trial would have answered: its number, label and probability. None: it was not asked.
    shadow: tuple[int, str, float] | None = None


@dataclass(frozen=True)
class SampleBlock:
    """Samples of one replica, published together; the id makes a second delivery harmless."""

    block_id: str
    replica: str
    samples: tuple[Sample, ...]

    def to_json(self) -> str:
        samples = [asdict(sample) | {"features": _encode(sample.features)} for sample in self.samples]
        return json.dumps(
            {"block_id": self.block_id, "replica": self.replica, "samples": samples}, ensure_ascii=False
        )

    @staticmethod
    def from_json(content: str | bytes) -> SampleBlock:
        """Reads `to_json`. Raises ValueError, KeyError or TypeError when it is not one of ours."""
        block = json.loads(content)
        return SampleBlock(
            block["block_id"], block["replica"], tuple(_sample(each) for each in block["samples"])
        )


def _sample(fields: dict[str, Any]) -> Sample:
    shadow = fields.get("shadow")  # a replica of an older release sends none
    decoded = {"features": _decode(fields["features"]), "shadow": shadow and tuple(shadow)}
    return Sample(**(fields | decoded))


def _encode(features: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(features, dtype="<f4").tobytes()).decode()


def _decode(features: str) -> tuple[float, ...]:
    return tuple(np.frombuffer(base64.b64decode(features), dtype="<f4").tolist())


class SampleStream:
    """A Redis stream with one consumer group; what was read stays pending until it is acknowledged."""

    def __init__(self, client: redis.Redis, maxlen: int = 10_000) -> None:
        self._client = client
        self._maxlen = maxlen

    def publish(self, block: SampleBlock) -> str:
        """Appends a block and gives its stream id. Raises redis.RedisError."""
        return _text(
            self._client.xadd(STREAM, {"block": block.to_json()}, maxlen=self._maxlen, approximate=True)
        )

    def read(
        self, consumer: str, count: int = 100, block_ms: int = 1000, claim_idle_ms: int = 60_000
    ) -> list[tuple[str, SampleBlock]]:
        """Blocks that nobody acknowledged: this consumer's own first, then those of a dead one, then new ones.

        Entries that are not blocks are acknowledged and skipped. Raises redis.RedisError.
        """
        self._create_group()
        entries = self._entries(consumer, "0", count, None)
        entries = entries or self._claimed(consumer, count, claim_idle_ms)
        return self._parse(entries or self._entries(consumer, ">", count, block_ms))

    def ack(self, stream_ids: Sequence[str]) -> None:
        """These blocks are in the ledger."""
        if stream_ids:
            self._client.xack(STREAM, GROUP, *stream_ids)

    def lag_s(self) -> float:
        """Seconds since the oldest unread or unacknowledged block was published; 0 when there is none."""
        try:
            groups = self._client.xinfo_groups(STREAM)
        except redis.ResponseError:
            return 0.0
        group = next((g for g in groups if _text(g["name"]) == GROUP), None)
        if group is None or (not group.get("lag") and not group["pending"]):
            return 0.0
        oldest = self._oldest_open(_text(group["last-delivered-id"]), bool(group["pending"]))
        return max(time.time() - int(oldest.split("-")[0]) / 1000, 0.0) if oldest else 0.0

    def _oldest_open(self, last_delivered: str, pending: bool) -> str | None:
        if pending:
            summary = self._client.xpending(STREAM, GROUP)
            return _text(summary["min"]) if summary["min"] else None
        unread = cast(list[Any], self._client.xrange(STREAM, min=f"({last_delivered}", count=1))
        return _text(unread[0][0]) if unread else None

    def _create_group(self) -> None:
        try:
            self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _entries(self, consumer: str, since: str, count: int, block_ms: int | None) -> list[Any]:
        answer = cast(
            Any, self._client.xreadgroup(GROUP, consumer, {STREAM: since}, count=count, block=block_ms)
        )
        streams = (
            list(answer.values()) if isinstance(answer, dict) else [entries for _, entries in answer or []]
        )
        return _flat(streams)

    def _claimed(self, consumer: str, count: int, idle_ms: int) -> list[Any]:
        answer = cast(Any, self._client.xautoclaim(STREAM, GROUP, consumer, idle_ms, count=count))
        return list(answer[1])

    def _parse(self, entries: list[Any]) -> list[tuple[str, SampleBlock]]:
        blocks: list[tuple[str, SampleBlock]] = []
        for stream_id, fields in entries:
            try:
                blocks.append((_text(stream_id), SampleBlock.from_json((fields or {})[b"block"])))
            except (ValueError, KeyError, TypeError):
                self.ack([_text(stream_id)])
        return blocks


def _flat(streams: list[Any]) -> list[Any]:
    """redis-py gives the entries of a stream as a list, or as a list of lists under RESP3."""
    entries = [entry for stream in streams for entry in stream]
    return (
        [inner for entry in entries for inner in entry]
        if entries and isinstance(entries[0], list)
        else entries
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
