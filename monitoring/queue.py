"""How many messages wait for a worker: what a monitor can see of workers that are not there."""

from dataclasses import dataclass

import redis

from trimtab.metrics import QUEUE_DEPTH


@dataclass(frozen=True)
class Queue:
    """The workers' queue, which Celery keeps as a Redis list under its own name."""

    client: redis.Redis
    name: str

    def show(self) -> None:
        """The present length as a metric; none while Redis is away, for the last one would look like news."""
        try:
            QUEUE_DEPTH.labels(self.name).set(self.client.llen(self.name))
        except (redis.RedisError, OSError):
            QUEUE_DEPTH.clear()
