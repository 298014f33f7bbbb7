"""Samples from the stream into the ledger: each block once, whatever crashes in between.

The order is: commit to the ledger, then acknowledge. A crash in between delivers the blocks again, and the ledger
knows their ids.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field

import redis

from trimtab.ledger import Ledger, samples
from trimtab.metrics import DRIFT_EVENTS, MONITOR_LAG
from trimtab.samples import SampleBlock, SampleStream

log = logging.getLogger(__name__)

# One name for all: there is one monitor at a time (lease), and its successor takes over what was read but not kept.
CONSUMER = "monitor"
BLOCKS_AT_ONCE = 100
READS_A_ROUND = 20  # a backlog leaves time for checks and for the lease
CLAIM_IDLE_MS = 60_000


@dataclass
class Intake:
    """Takes blocks in; remembers only whether Redis was away, so that it says so once."""

    ledger: Ledger
    stream: SampleStream
    keep_text: bool = True
    redis_away: bool = field(default=False, init=False)

    def take_in(self) -> int:
        """Move what waits in the stream to the ledger; returns how many samples are new.

        Redis away is no error: what waits there waits longer. Raises LedgerUnavailable, with nothing acknowledged.
        """
        n_new = 0
        try:
            for _ in range(READS_A_ROUND):
                blocks = self.stream.read(CONSUMER, BLOCKS_AT_ONCE, block_ms=1, claim_idle_ms=CLAIM_IDLE_MS)
                if not blocks:
                    break
                n_new += self._keep(blocks)
            MONITOR_LAG.set(self.stream.lag_s())
        except (redis.RedisError, OSError) as error:
            self._say_away(error)
            return n_new
        self._say_back()
        return n_new

    def _keep(self, blocks: list[tuple[str, SampleBlock]]) -> int:
        with self.ledger.begin() as tx:
            n_new = samples.ingest(tx, blocks, keep_text=self.keep_text)
        self.stream.ack([stream_id for stream_id, _ in blocks])
        for model, n in Counter(sample.model for _, block in blocks for sample in block.samples).items():
            DRIFT_EVENTS.labels(model).inc(n)
        return n_new

    def _say_away(self, error: Exception) -> None:
        if not self.redis_away:
            log.warning("Redis is away: samples wait", extra={"error": str(error)})
        self.redis_away = True

    def _say_back(self) -> None:
        if self.redis_away:
            log.info("Redis is back")
        self.redis_away = False
