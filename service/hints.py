"""The hint that something changed: a Redis message that saves waiting for the next poll, and nothing depends on."""

from __future__ import annotations

import threading

import redis

CHANNEL = "trimtab:generation"
_RETRY_S = 1.0


class HintListener:
    """Sets an event at every hint; while Redis is away it tries again, in silence."""

    def __init__(self, client: redis.Redis, wake: threading.Event) -> None:
        self._client = client
        self._wake = wake
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        self._stopped.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except (redis.RedisError, OSError):
                self._stopped.wait(_RETRY_S)

    def _listen(self) -> None:
        with self._client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(CHANNEL)
            # Whatever was said before the subscription is found by looking once.
            self._wake.set()
            while not self._stopped.is_set():
                if subscription.get_message(timeout=0.5) is not None:
                    self._wake.set()


def send_hint(client: redis.Redis, model: str) -> bool:
    """Tells every replica to look now; False when Redis is away (they find out by polling)."""
    try:
        client.publish(CHANNEL, model)
    except (redis.RedisError, OSError):
        return False
    return True
