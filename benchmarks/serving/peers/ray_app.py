"""Ray Serve with dynamic batching: up to 32 requests, 3 ms; one replica."""

from __future__ import annotations

import sys
import threading
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.serving.peers.classifier import Classifier


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
class Replica:
    def __init__(self, checkpoint: str) -> None:
        self.classify = Classifier(checkpoint)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.003)
    async def scores(self, texts: list[str]) -> list[list[float]]:
        return self.classify(texts)

    async def __call__(self, request: Request) -> dict[str, Any]:
        body = await request.json()
        return {"scores": await self.scores(body["text"])}


def main(checkpoint: str, port: int) -> None:
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    application: Any = Replica
    serve.run(application.bind(checkpoint), route_prefix="/predict")
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
