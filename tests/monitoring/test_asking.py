"""Requests are opened for what a job lacks, follow the answers, and close when nobody needs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from monitoring.asking import Asking, distinct, lacking
from monitoring.monitor import tick
from monitoring.station import Station
from tests.fixtures.ledgers import block, filled_model, sample
from tests.fixtures.references import traffic
from tests.monitoring.conftest import MODEL, Place
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.labels import LabelNeeds, missing_labels, usable, usable_counts
from trimtab.ledger import Ledger, events, examples, feedback, gate_history, jobs, label_requests, samples
from trimtab.ledger.examples import Example
from trimtab.ledger.feedback import FeedbackItem
from trimtab.ledger.gate_history import Window
from trimtab.ledger.label_requests import AT_RANDOM, Labeller, LabelRequest, RequestState
from trimtab.ledger.windows import WindowText, window_texts
from trimtab.settings import LabelsSettings
from trimtab.splits import key_of

ANN = Labeller("ann")
N = 400
NEEDS = LabelNeeds(train=20, selection=4, gate=12, per_class=3, labels=("neg", "pos"))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Four hundred predictions: 90 % "pos", of all scores."""
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    opened.migrate()
    with opened.begin() as tx:
        filled_model(tx)
        samples.ingest(tx, [block("b", (_sample(n) for n in range(N)))])
    yield opened
    opened.close()


def _sample(n: int) -> Any:
    label, score = ("neg" if n % 10 == 0 else "pos"), 0.5 + 0.5 * (n * 37 % N) / N
    features = tuple(np.random.default_rng(n).normal(size=8).tolist())
    return sample(n, label=label, score=score, features=features)


def waiting(ledger: Ledger, **changes: Any) -> AdaptationJob:
    with ledger.begin() as tx:
        values: dict[str, Any] = {"window_from_seq": 1, "deadline_at": 4e9}
        values["missing"] = missing_labels({}, NEEDS)
        return jobs.open_job(
            tx, MODEL, cause={}, domain="", status=JobStatus.WAITING_FOR_LABELS, **(values | changes)
        )


def asking(ledger: Ledger, **labels: Any) -> Asking:
    """A chore that does not pause."""
    return Asking(ledger, LabelsSettings(**labels), every_s=0.0)


def requests(ledger: Ledger, limit: int = 1000) -> list[LabelRequest]:
    with ledger.begin() as tx:
        return label_requests.lease_requests(tx, MODEL, ANN, limit=limit, lease_s=0.0)


def answer(ledger: Ledger, chosen: list[LabelRequest], label: str = "pos") -> None:
    with ledger.begin() as tx:
        for request in chosen:
            label_requests.answer(tx, request.id, label, ANN)


def recount(ledger: Ledger, job: AdaptationJob) -> dict[str, int]:
    """What `advance_waiting_jobs` does."""
    with ledger.begin() as tx:
        missing = missing_labels(usable_counts(tx, MODEL, job.window_from_seq), NEEDS)
        jobs.update_missing(tx, job.id, missing)
    return missing


def kinds(ledger: Ledger) -> list[str]:
    with ledger.read() as tx:
        return [event.kind for event in events.list_events(tx)]


@pytest.mark.parametrize(
    ("missing", "n_open", "max_open", "expected"),
    [
        ({"train": 20, "selection": 4, "gate": 12}, {}, 1000, {"gate": 12, "selection": 4, "train": 20}),
        ({"train": 20, "gate": 12}, {"train": 15, "gate": 20}, 1000, {"gate": 0, "selection": 0, "train": 5}),
        ({"train": 2, "train:neg": 3, "train:pos": 1}, {}, 1000, {"gate": 0, "selection": 0, "train": 8}),
        ({"train": 20, "selection": 4, "gate": 12}, {}, 14, {"gate": 12, "selection": 2, "train": 0}),
        ({"gate": 5}, {"train": 9}, 8, {"gate": 0, "selection": 0, "train": 0}),
        ({}, {}, 1000, {"gate": 0, "selection": 0, "train": 0}),
    ],
)
def test_as_many_as_are_missing_and_not_asked_for(
    missing: dict[str, int], n_open: dict[str, int], max_open: int, expected: dict[str, int]
) -> None:
    assert lacking(missing, n_open, max_open) == expected


def test_a_window_in_quarantine_has_no_labels_and_none_are_asked_of_it(ledger: Ledger) -> None:
    """What nothing is learnt from counts for nothing: a job goes on waiting, and asks of what came later."""
    job = waiting(ledger)
    with ledger.begin() as tx:
        labels = [FeedbackItem(prediction_id=f"p{n}", label=("neg", "pos")[n % 2]) for n in range(200)]
        feedback.record_feedback(tx, labels)
    assert recount(ledger, job) == {}
    with ledger.begin() as tx:
        window = Window(model=MODEL, from_seq=1, to_seq=300, reason="labels were flipped")
        gate_history.quarantine_window(tx, window)
    assert recount(ledger, job) == missing_labels({}, NEEDS)
    asking(ledger).ask()
    asked = requests(ledger)
    assert asked
    assert min(request.seq for request in asked) > 300
    answer(ledger, asked, "neg")
    assert sum(recount(ledger, job).values()) < sum(missing_labels({}, NEEDS).values())


def test_a_waiting_job_asks_for_what_it_lacks_once(ledger: Ledger) -> None:
    waiting(ledger)
    chore = asking(ledger)
    assert chore.ask() == 36
    assert chore.ask() == 0
    found = requests(ledger)
    assert Counter(request.part for request in found) == {"train": 20, "gate": 12, "selection": 4}
    assert len({request.key for request in found}) == 36
    assert 2 * sum(request.reason in AT_RANDOM for request in found) >= 36
    assert all(request.reason in AT_RANDOM for request in found if request.part != "train")
    assert {request.expires_at for request in found} == {4e9}
    assert kinds(ledger).count("labels_requested") == 1


def test_answering_what_is_asked_meets_the_needs(ledger: Ledger) -> None:
    """Rare classes, too; what is skipped is replaced. In the end nothing is open that is not needed."""
    job, chore = waiting(ledger), asking(ledger)
    rounds, missing = 0, dict(job.missing or {})
    while missing and rounds < 10:
        chore.ask()
        found = requests(ledger)
        with ledger.begin() as tx:
            for request in found[: 3 if rounds == 0 else 0]:
                label_requests.skip(tx, request.id, ANN)
            texts = samples.get_predictions(tx, [request.prediction_id for request in found])
        for request in found[3 if rounds == 0 else 0 :]:
            answer(ledger, [request], texts[request.prediction_id].label)
        missing, rounds = recount(ledger, job), rounds + 1
    assert missing == {}
    assert rounds <= 4
    with ledger.read() as tx:
        standing = label_requests.standing(tx, MODEL)
    assert (standing.right, standing.answered) == (standing.judged, standing.wanted)


def test_what_was_chosen_for_being_odd_never_judges(ledger: Ledger) -> None:
    """Every text of the gate's and the selection's part that an adaptation may use was drawn at random."""
    waiting(ledger, missing={"train": 200, "selection": 20, "gate": 60})
    asking(ledger).ask()
    found = requests(ledger)
    odd = {request.key for request in found if request.reason not in AT_RANDOM}
    answer(ledger, found)
    with ledger.read() as tx:
        parts = usable(feedback.labelled(tx, MODEL, 1), set(), set())
    assert len(odd) > 20
    assert odd < {row.key for row in parts["train"]}
    assert not odd & {row.key for part in ("selection", "gate") for row in parts[part]}
    assert (len(parts["selection"]), len(parts["gate"])) == (20, 60)


def test_texts_that_are_labelled_or_kept_are_not_asked_for(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        said = [FeedbackItem(prediction_id=f"p{n}", label="pos") for n in range(100)]
        feedback.record_feedback(tx, said)
        kept = [f"text number {n}" for n in range(100, 200)]
        examples.add_examples(
            tx, [Example(model=MODEL, domain="d", role="memory", text=t, key=key_of(t)) for t in kept]
        )
    waiting(ledger, missing={"train": 300, "gate": 300, "selection": 300})
    asking(ledger).ask()
    found = requests(ledger)
    assert len(found) == 200
    assert {int(request.prediction_id[1:]) for request in found} == set(range(200, 400))


def test_texts_before_the_window_are_not_asked_for(ledger: Ledger) -> None:
    waiting(ledger, window_from_seq=301, missing={"train": 300})
    asking(ledger).ask()
    assert min(request.seq for request in requests(ledger)) >= 301


def test_a_label_that_came_another_way_answers(ledger: Ledger) -> None:
    waiting(ledger)
    chore = asking(ledger)
    chore.ask()
    first = requests(ledger)[0]
    with ledger.begin() as tx:
        said = FeedbackItem(prediction_id=first.prediction_id, label="pos", client="batch")
        feedback.record_feedback(tx, [said])
    chore.ask()
    with ledger.read() as tx:
        answered = label_requests.get_request(tx, first.id)
    assert (answered.state, answered.settled_by) == (RequestState.ANSWERED, "batch")


def test_the_end_of_a_job_closes_its_requests(ledger: Ledger) -> None:
    job, chore = waiting(ledger), asking(ledger)
    chore.ask()
    with ledger.begin() as tx:
        jobs.cancel(tx, job.id, actor="test")
    assert requests(ledger)
    assert chore.ask() == 0
    assert requests(ledger) == []
    with ledger.read() as tx:
        assert set(label_requests.asked(tx, job.id).values()) == {RequestState.CLOSED}


@pytest.mark.parametrize(("half_width", "closed"), [(0.5, True), (0.01, False)])
def test_the_stop_rule_waits_for_a_tight_interval(ledger: Ledger, half_width: float, closed: bool) -> None:
    """A job that has its labels is queued; only then, and if the accuracy is known well, the rest is closed."""
    job, chore = waiting(ledger), asking(ledger, half_width=half_width)
    chore.ask()
    answer(ledger, requests(ledger)[:30])
    chore.ask()
    assert requests(ledger)
    with ledger.begin() as tx:
        jobs.requeue_waiting(tx, job.id)
    chore.ask()
    assert (requests(ledger) == []) is closed
    assert ("label_requests_closed" in kinds(ledger)) is closed


def test_requests_go_with_their_predictions(ledger: Ledger) -> None:
    waiting(ledger)
    asking(ledger).ask()
    with ledger.begin() as tx:
        assert samples.expire(tx, 0.0) == N
    assert requests(ledger) == []


def test_where_no_text_is_kept_nothing_is_asked(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        samples.ingest(tx, [block("b2", (sample(n) for n in range(N, N + 20)))], keep_text=False)
    waiting(ledger, window_from_seq=N + 1)
    assert asking(ledger).ask() == 0


def test_a_window_is_looked_at_once_a_while(ledger: Ledger) -> None:
    job = waiting(ledger, missing={"train": 10})
    chore = Asking(ledger, LabelsSettings(), every_s=3600.0)
    assert chore.ask() == 10
    with ledger.begin() as tx:
        jobs.update_missing(tx, job.id, {"train": 20})
    assert chore.ask() == 0
    assert asking(ledger).ask() == 10


def test_the_gauges_say_what_is_open(ledger: Ledger) -> None:
    waiting(ledger)
    chore = asking(ledger)
    chore.ask()
    with ledger.begin() as tx:
        feedback.record_feedback(tx, [FeedbackItem(prediction_id="not yet", label="pos")])
    chore.ask()

    def value(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, labels)

    assert value("trimtab_label_requests_open", model=MODEL, reason="gate") == 12
    age = value("trimtab_label_request_age_seconds", model=MODEL)
    assert age is not None
    assert age >= 0
    assert value("trimtab_feedback_pending") == 1


def test_one_text_is_one_candidate(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        twice = [
            sample(900, text="twice", label="pos"),
            sample(901, text="TWICE ", label="neg", version=2),
            sample(902, text="in two parts"),
            *(sample(903 + n, text="in two parts", group=f"group {n}") for n in range(20)),
            sample(950, text="other features", features=(1.0,)),
        ]
        samples.ingest(tx, [block("b3", twice)])
        found = window_texts(tx, MODEL, N + 1, 100)
    texts = {text.key: text for text in distinct(found)}
    assert set(texts) == {key_of("twice")}
    (text,) = texts.values()
    assert (text.disputed, text.labelled, text.seq) == (True, False, N + 2)
    assert isinstance(text, WindowText)


def test_what_a_version_on_trial_would_answer_otherwise_is_disputed(ledger: Ledger) -> None:
    shadows = {"alike": (2, "pos", 0.9), "otherwise": (2, "neg", 0.6), "not asked": None}
    with ledger.begin() as tx:
        sent = [
            sample(900 + i, text=text, label="pos", shadow=shadow)
            for i, (text, shadow) in enumerate(shadows.items())
        ]
        sent.append(sample(910, text="otherwise", label="pos"))
        samples.ingest(tx, [block("b4", sent)])
        found = window_texts(tx, MODEL, N + 1, 100)
    texts = {text.key: text.disputed for text in distinct(found)}
    assert texts == {key_of("alike"): False, key_of("otherwise"): True, key_of("not asked"): False}


def test_the_monitor_asks(place: Place, station: Station) -> None:
    """Through a round of the monitor: a job that waits has its requests, with texts, after one tick."""
    place.send(traffic(60, 0.0, seed=3))
    assert tick(station)
    with place.ledger.begin() as tx:
        jobs.open_job(
            tx, MODEL, cause={}, domain="", window_from_seq=1,
            status=JobStatus.WAITING_FOR_LABELS, missing={"train": 5}, deadline_at=4e9,
        )  # fmt: skip
    assert tick(station)
    found = requests(place.ledger)
    assert {"train", "gate"} <= {request.part for request in found}
    assert all(request.text.startswith("text number") for request in found)
