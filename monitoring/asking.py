"""Asking for the labels that jobs lack: the chore that opens label requests, and closes what nobody needs.

A job asks while it waits for labels; one that was held for want of them asks on while its drift lasts.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection

from monitoring.choosing import Candidates, choose
from monitoring.gauges import show_requests
from trimtab.jobs import AdaptationJob
from trimtab.labels import HELD_OUT
from trimtab.ledger import Ledger, examples, feedback, jobs, label_requests
from trimtab.ledger.clock import now
from trimtab.ledger.events import record_event
from trimtab.ledger.gate_history import outside, quarantined
from trimtab.ledger.label_requests import LAPSED, NewRequest, RequestState
from trimtab.ledger.windows import WindowText, window_texts
from trimtab.settings import LabelsSettings
from trimtab.splits import unit_of
from trimtab.stats.share import wilson

EVERY_S = 5.0  # between two looks at the window of a job
MAX_WINDOW = 20_000  # newest predictions of the window that are looked at
KEPT_S = 7 * 86_400.0  # of a request whose job has no deadline


@dataclass
class Asking:
    """Keeps as many requests open as each job that asks lacks labels; remembers when it looked at which window."""

    ledger: Ledger
    labels: LabelsSettings
    every_s: float = EVERY_S
    _looked_at: dict[str, float] = field(default_factory=dict, init=False)

    def ask(self) -> int:
        """Open and close requests; returns how many were opened."""
        with self.ledger.begin() as tx:
            label_requests.settle_open(tx)
            asking = jobs.asking_jobs(tx)
            close_satisfied(tx, self.labels.half_width)
        opened = sum(self._ask_for(job) for job in asking)
        with self.ledger.read() as tx:
            show_requests(label_requests.open_by_reason(tx), feedback.count_pending(tx))
        return opened

    def _ask_for(self, job: AdaptationJob) -> int:
        """The window is read beside the writers; what is asked twice meanwhile is kept once."""
        with self.ledger.read() as tx:
            wanted = lacking(job.missing or {}, label_requests.open_by_part(tx, job.id), self.labels.max_open)
            if not any(wanted.values()) or not self._due(job.id):
                return 0
            requests = choose_requests(tx, job, wanted)
        with self.ledger.begin() as tx:
            return _open(tx, job, requests)

    def _due(self, job_id: str) -> bool:
        if time.monotonic() - self._looked_at.get(job_id, -self.every_s) < self.every_s:
            return False
        self._looked_at[job_id] = time.monotonic()
        return True


def lacking(missing: Mapping[str, int], n_open: Mapping[str, int], max_open: int) -> dict[str, int]:
    """How many requests to open by part: what is missing and not asked for yet, the gate's part first.

    The training part wants at least twice as many as its classes lack together: half of them are drawn at random.
    """
    classes = sum(n for part, n in missing.items() if part.startswith("train:"))
    needed = {part: missing.get(part, 0) for part in ("gate", "selection")}
    needed["train"] = max(missing.get("train", 0), 2 * classes)
    left, wanted = max_open - sum(n_open.values()), {}
    for part, n in needed.items():
        wanted[part] = max(0, min(left, n - n_open.get(part, 0)))
        left -= wanted[part]
    return wanted


def choose_requests(tx: Connection, job: AdaptationJob, wanted: Mapping[str, int]) -> list[NewRequest]:
    """Texts of the job's window that nobody labelled, kept for no other purpose, and not in quarantine."""
    asked = {key: at for key, at in label_requests.asked(tx, job.id).items() if at not in LAPSED}
    kept = examples.keys(tx, job.model, (*HELD_OUT, "memory"))
    window = window_texts(tx, job.model, job.window_from_seq, MAX_WINDOW)
    texts = distinct(outside(window, quarantined(tx, job.model)))
    if not texts:
        return []
    candidates = candidates_of(texts, job.id, kept | asked.keys())
    places = [place for place, text in enumerate(texts) if text.key in asked]
    expected = Counter(texts[i].label for i in places if asked[texts[i].key] is RequestState.OPEN)
    short = {
        part.partition(":")[2]: n - expected[part.partition(":")[2]]
        for part, n in (job.missing or {}).items()
        if part.startswith("train:")
    }
    chosen = choose(candidates, wanted, short, places)
    return [
        NewRequest(seq=texts[place].seq, key=texts[place].key, part=texts[place].part, reason=reason)
        for place, reason in chosen.items()
    ]


def distinct(texts: Iterable[WindowText]) -> list[WindowText]:
    """The newest occurrence of each text; those of another number of features than most, or in two parts, are left
    out. A text with one labelled occurrence is labelled, and one with two answers is disputed."""
    kept = list(texts)
    width = Counter(len(text.features) for text in kept).most_common(1)[0][0] if kept else 0
    found: dict[str, WindowText] = {}
    parts: dict[str, set[str]] = {}
    for text in kept:
        if len(text.features) == width:
            parts.setdefault(text.key, set()).add(text.part)
            before = found.get(text.key)
            found[text.key] = text if before is None else text.after(before)
    return [text for text in found.values() if len(parts[text.key]) == 1]


def candidates_of(texts: list[WindowText], salt: str, taken: Iterable[str]) -> Candidates:
    """What `choose` looks at; the order of the random draws depends on the job's id, which nobody can foresee."""
    used = set(taken)
    return Candidates(
        parts=tuple(text.part for text in texts),
        labels=tuple(text.label for text in texts),
        scores=np.array([text.score for text in texts]),
        units=np.array([unit_of(text.key, salt) for text in texts]),
        features=np.array([text.features for text in texts], dtype=np.float64),
        disputed=np.array([text.disputed for text in texts]),
        free=np.array([not text.labelled and text.key not in used for text in texts]),
    )


def close_satisfied(tx: Connection, half_width: float) -> None:
    """The stop rule: a job that has what it needs asks on only until the window's accuracy is known well enough."""
    for job in [jobs.get_job(tx, job_id) for job_id in label_requests.jobs_that_ask(tx)]:
        if job.asks:
            continue
        found = wilson(*label_requests.judgement(tx, job.model, job.id, job.window_from_seq))
        if found is not None and found.half_width <= half_width:
            n = label_requests.close(tx, job.id)
            record_event(tx, "label_requests_closed", job.model, {"job": job.id, "n": n}, "monitor")


def _kept_until(tx: Connection, job: AdaptationJob) -> float:
    """Until the deadline of a job that waits; a week where there is none, or it has passed."""
    if job.status.final:
        return now(tx) + KEPT_S
    return job.created_at + KEPT_S if job.deadline_at is None else job.deadline_at


def _open(tx: Connection, job: AdaptationJob, requests: list[NewRequest]) -> int:
    first = not label_requests.asked(tx, job.id)
    expires_at = _kept_until(tx, job)
    opened = label_requests.ask(tx, job.model, job.id, requests, expires_at=expires_at)
    if first and opened:
        reasons = Counter(request.reason.value for request in requests)
        record_event(
            tx, "labels_requested", job.model, {"job": job.id, "n": opened, "reasons": reasons}, "monitor"
        )
    return opened
