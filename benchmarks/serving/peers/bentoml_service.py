"""BentoML with adaptive batching: up to 32 requests."""

from __future__ import annotations

import os

import bentoml

from benchmarks.serving.peers.classifier import Classifier


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 256})
class Service:
    """A batch that would take longer than max_latency_ms is refused by BentoML, so that it is generous here."""

    def __init__(self) -> None:
        self.classify = Classifier(os.environ["BENCH_CHECKPOINT"])

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=20_000)
    def predict(self, texts: list[str]) -> list[list[float]]:
        return self.classify(texts)
