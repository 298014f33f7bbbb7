"""Send a recorded, labelled stream as traffic, its labels as delayed feedback; keep what was answered.

Which rows get feedback is decided by a hash, so that the same file gives the same labels at every run.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from service.client import Answer, ApiClient, CallFailed, Label
from trimtab.datafiles import Row
from trimtab.splits import key_of, unit_of

FEEDBACK_BATCH = 50
NO_DOMAIN = "(none)"


@dataclass(frozen=True)
class Sent:
    """One row that was sent: its answer, or why there is none."""

    row: Row
    answer: Answer | None
    failure: str = ""
    sent_at: float = field(default_factory=time.time)

    @property
    def right(self) -> bool:
        return self.answer is not None and self.answer.label == self.row.label


@dataclass(frozen=True, kw_only=True)
class Segment:
    """How the rows of one domain were answered.

    Attributes:
        accuracy, balanced_accuracy: Of the answered rows, in [0, 1]; nan when there are none.
        versions: Answers by version.
        p50_ms, p95_ms: Percentiles of the time to an answer.
    """

    domain: str
    n: int
    failed: int
    accuracy: float
    balanced_accuracy: float
    versions: dict[int, int]
    p50_ms: float
    p95_ms: float


class DelayedFeedback:
    """Labels that wait their time before they are sent, for a fraction of the rows."""

    def __init__(self, client: ApiClient, *, fraction: float, delay_s: float, salt: str = "feedback") -> None:
        self._client = client
        self._fraction = fraction
        self._delay_s = delay_s
        self._salt = salt
        self._waiting: deque[tuple[float, Label]] = deque()
        self.sent = 0
        self.counts: Counter[str] = Counter()

    def chosen(self, row: Row) -> bool:
        """Whether this row's label will be known one day; the same for every run."""
        return unit_of(key_of(row.text, row.group), self._salt) < self._fraction

    def take(self, row: Row, answer: Answer) -> None:
        """Let the label of an answered row wait, if the row is chosen."""
        if self.chosen(row):
            self._waiting.append((time.monotonic() + self._delay_s, Label(answer.prediction_id, row.label)))

    def flush(self, *, everything: bool = False) -> None:
        """Send what has waited long enough, or all that waits. Raises CallFailed."""
        now = time.monotonic()
        due = [label for at, label in self._waiting if everything or at <= now]
        if not due or (len(due) < FEEDBACK_BATCH and not everything and now - self._waiting[0][0] < 1.0):
            return
        for start in range(0, len(due), FEEDBACK_BATCH):
            outcome = self._client.feedback(due[start : start + FEEDBACK_BATCH])
            self.counts.update({name: n for name, n in outcome.items() if isinstance(n, int)})
        for _ in due:
            self._waiting.popleft()
        self.sent += len(due)


class Pace:
    """A steady rate: waits until the next event is due; lateness is not made up for by a burst."""

    def __init__(self, rate: Callable[[], float]) -> None:
        """rate: events per second at this moment; 0 or less: as fast as answers come."""
        self._rate = rate
        self._due = time.monotonic()

    def wait(self) -> None:
        rate = self._rate()
        if rate <= 0.0:
            return
        now = time.monotonic()
        if self._due > now:
            time.sleep(self._due - now)
        self._due = max(self._due, now) + 1.0 / rate


def replay(
    client: ApiClient,
    model: str,
    rows: Iterable[Row],
    *,
    pace: Pace,
    feedback: DelayedFeedback,
    told: Callable[[Sent], None] = lambda _: None,
) -> list[Sent]:
    """Send the rows one by one; a failed answer is kept and counted, and the stream goes on.

    Args:
        told: called after every row, for progress.
    """
    sent = []
    for row in rows:
        pace.wait()
        sent.append(_send(client, model, row, feedback))
        told(sent[-1])
    return sent


def send_feedback(feedback: DelayedFeedback, *, everything: bool = False) -> str:
    """Send due labels; returns why it failed, "" when it did not. What failed is kept and sent with the next."""
    try:
        feedback.flush(everything=everything)
    except CallFailed as error:
        return str(error)
    return ""


def _send(client: ApiClient, model: str, row: Row, feedback: DelayedFeedback) -> Sent:
    try:
        (answer,) = client.predict(model, [row.text], domains=[row.domain], groups=[row.group])
    except CallFailed as error:
        return Sent(row, None, str(error))
    feedback.take(row, answer)
    send_feedback(feedback)
    return Sent(row, answer)


def segments(sent: Sequence[Sent]) -> list[Segment]:
    """One scorecard line per domain, in the order in which the domains came."""
    by_domain: dict[str, list[Sent]] = defaultdict(list)
    for one in sent:
        by_domain[one.row.domain or NO_DOMAIN].append(one)
    return [_segment(domain, part) for domain, part in by_domain.items()]


def balanced_accuracy(pairs: Iterable[tuple[str, str]]) -> float:
    """Mean over the true labels of the share answered right; of (true, predicted) pairs. nan without pairs."""
    total: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for true, predicted in pairs:
        total[true] += 1
        right[true] += true == predicted
    return sum(right[label] / n for label, n in total.items()) / len(total) if total else float("nan")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies (nearest rank); nan without values."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _segment(domain: str, sent: Sequence[Sent]) -> Segment:
    answered = [(one.row, one.answer) for one in sent if one.answer is not None]
    times_ms = [answer.seconds * 1000 for _, answer in answered]
    n_right = sum(row.label == answer.label for row, answer in answered)
    return Segment(
        domain=domain,
        n=len(sent),
        failed=len(sent) - len(answered),
        accuracy=n_right / len(answered) if answered else float("nan"),
        balanced_accuracy=balanced_accuracy((row.label, answer.label) for row, answer in answered),
        versions=dict(sorted(Counter(answer.version for _, answer in answered).items())),
        p50_ms=percentile(times_ms, 0.5),
        p95_ms=percentile(times_ms, 0.95),
    )
