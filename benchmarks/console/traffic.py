"""The demo's rows as steady traffic in a thread of its own, with feedback for as many of them as one wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.client import ApiClient
from service.demo.story import DELAY_S, MODEL, RATE
from service.replay import DelayedFeedback, Pace, Sent, replay
from trimtab.datafiles import Row

_IDLE_S = 0.05


@dataclass(frozen=True)
class _Stream:
    """Rows that are still to come, and who gives labels for them."""

    rows: Iterator[Row]
    feedback: DelayedFeedback


class Traffic:
    """Sends one row after the other until it is stopped; what was answered is kept in `sent`."""

    def __init__(self, url: str, key: str) -> None:
        self._client = ApiClient(url, key=key)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._stream = _Stream(iter(()), self._feedback(0.0))
        self.rate = RATE
        self.sent: list[Sent] = []

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(60.0)
        self._client.close()

    def send(self, rows: Sequence[Row], *, labelled: float) -> None:
        """From now on these rows; a share of them is labelled after a few seconds, the others never."""
        self._stream = _Stream(iter(rows), self._feedback(labelled))

    def label(self, share: float) -> None:
        """The same rows go on; from now on this share of them is labelled."""
        self._stream = _Stream(self._stream.rows, self._feedback(share))

    @property
    def failures(self) -> list[str]:
        """Why calls for a prediction failed."""
        return [sent.failure for sent in self.sent if sent.answer is None]

    def answered(self, domain: str) -> int:
        """How many rows of a domain were sent and answered."""
        return sum(sent.answer is not None and sent.row.domain == domain for sent in self.sent)

    def _feedback(self, share: float) -> DelayedFeedback:
        return DelayedFeedback(self._client, fraction=share, delay_s=DELAY_S)

    def _run(self) -> None:
        pace = Pace(lambda: self.rate)
        while not self._stopped.is_set():
            stream = self._stream
            row = next(stream.rows, None)
            if row is None:
                self._stopped.wait(_IDLE_S)
            else:
                self.sent += replay(self._client, MODEL, [row], pace=pace, feedback=stream.feedback)


def label_late(client: ApiClient, sent: Sequence[Sent]) -> int:
    """The labels of all these rows at once, as a nightly file of them would bring them. Raises CallFailed."""
    late = DelayedFeedback(client, fraction=1.0, delay_s=0.0)
    for each in sent:
        if each.answer is not None:
            late.take(each.row, each.answer)
    late.flush(everything=True)
    return late.sent
