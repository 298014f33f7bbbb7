"""A place with a version on trial, and who plays the worker, the replicas and the labellers around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from monitoring.monitor import tick
from monitoring.station import Station, open_station
from tests.fixtures.references import LABELS, labelled, traffic, version_with_references
from tests.monitoring.conftest import MODEL, Place, calibrated, open_place
from trimtab.adapter import load_private_key
from trimtab.features import References
from trimtab.jobs import JobStatus
from trimtab.ledger import examples, feedback, jobs, trials, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.feedback import FeedbackItem
from trimtab.ledger.versions import VersionState
from trimtab.settings import Settings, TrialSettings
from trimtab.trial import Trial, TrialMode

STEP = 50  # answers that make a stage


def rehearsing(**changes: Any) -> TrialSettings:
    values: dict[str, Any] = {
        "mode": TrialMode.CANARY, "shadow_requests": STEP, "stage_requests": STEP, "stage_s": 3600.0,
    }  # fmt: skip
    return TrialSettings(**(values | changes))


class Stagehand:
    """Plays the worker, the replicas and the labellers of one trial."""

    def __init__(self, place: Place, station: Station) -> None:
        self.place = place
        self.station = station
        self.job_id = ""

    def put_on_trial(self, discordance: float | None = None) -> Trial:
        """Version 2, which answers "pos" to half of its domain, made by a job."""
        with self.place.ledger.begin() as tx:
            job = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=1)
            lease = jobs.claim(tx, job.id, "worker", 600.0)
            assert lease is not None
            assert versions.reserve_version(tx, MODEL, job.id) == 2
        digest = self._stored(job.id)
        kept = Example(model=MODEL, domain="d", role="memory", text="x", key="k", version=2, probation=True)
        check = {"name": "gain:d", "result": "pass", "n": 200, "discordance": discordance}
        with self.place.ledger.begin() as tx:
            versions.record_version(tx, MODEL, 2, digest, 1, VersionState.ACCEPTED, manifest={})
            examples.add_examples(tx, [kept])
            trials.start_trial(tx, MODEL, 2, champion=1, job_id=job.id, reason="passed", actor="worker")
            jobs.await_trial(tx, lease, verdict={"checks": [check]}, version=2, reason="passed")
        self.job_id = job.id
        return self.trial

    def _stored(self, job_id: str) -> str:
        rows = traffic(600, 0.0, seed=1)
        answered = {"movie": (np.arange(600) % 2).astype(np.int64)}
        known: References = replace(labelled({"movie": rows}), predicted=answered)
        key = load_private_key(self.place.settings.private_key_path)
        return self.place.store.put(version_with_references(key, known, version=2))

    @property
    def trial(self) -> Trial:
        with self.place.ledger.read() as tx:
            found = trials.get_trial(tx, MODEL, 2)
        assert found is not None
        return found

    def answer(self, n: int, *, version: int = 1, shadow: Callable[[int], str] | None = None) -> list[int]:
        """n answers, "neg" and "pos" in turns, with what `shadow` makes of them unseen; gives their numbers."""
        block = self.place.block(traffic(n, 0.0, seed=1000 + self.place.n_sent), version)
        numbers = [int(each.prediction_id[1:]) for each in block.samples]
        answered = [
            replace(each, label=LABELS[i % 2], shadow=shadow and (2, shadow(i), 0.9))
            for i, each in zip(numbers, block.samples, strict=True)
        ]
        self.place.stream.publish(replace(block, samples=tuple(answered)))
        return numbers

    def label(self, numbers: list[int], truth: Callable[[int], str]) -> None:
        items = [FeedbackItem(prediction_id=f"p{i}", label=truth(i), annotator="u") for i in numbers]
        with self.place.ledger.begin() as tx:
            feedback.record_feedback(tx, items)

    def tick(self) -> Trial:
        assert tick(self.station)
        return self.trial

    @property
    def aliases(self) -> dict[str, int]:
        with self.place.ledger.read() as tx:
            return versions.get_aliases(tx, MODEL)

    @property
    def job(self) -> tuple[JobStatus, str]:
        with self.place.ledger.read() as tx:
            job = jobs.get_job(tx, self.job_id)
        return job.status, job.reason

    def version(self) -> VersionState:
        with self.place.ledger.read() as tx:
            return versions.get_version(tx, MODEL, 2).state

    def memory(self) -> int:
        with self.place.ledger.read() as tx:
            return len(examples.list_examples(tx, MODEL, "memory"))


@contextmanager
def opened(settings: Settings) -> Iterator[Stagehand]:
    """A stagehand in a place with these settings; champion 1 is calibrated."""
    place = open_place(settings)
    place.add_version(1, {"movie": traffic(300, 0.0, seed=1)})
    with open_station(settings, place.nudged.append) as station:
        calibrated(station, place)
        yield Stagehand(place, station)
    place.ledger.close()


def same(number: int) -> str:
    """What the champion answers."""
    return LABELS[number % 2]


def other(number: int) -> str:
    """What it does not."""
    return LABELS[(number + 1) % 2]


def half(number: int) -> str:
    """Otherwise than the champion every second time, in equal shares."""
    return LABELS[(number // 2) % 2]
