"""A version on probation, on a real ledger and a real Valkey: a bad one is stepped back from, a good one is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import REGISTRY
from scipy.stats import binom
from sqlalchemy import update

from monitoring import probation
from monitoring.check import Baseline
from monitoring.mixture import know_domains
from monitoring.monitor import tick
from monitoring.probation import Traffic, judge
from monitoring.station import Station
from tests.fixtures.references import LABELS, labelled, traffic
from tests.monitoring.conftest import MODEL, Place, feed
from tests.monitoring.test_evidence import THRESHOLDS, samples_of
from trimtab.drift import ArmStatistic, MonitorState
from trimtab.features import Floats, References
from trimtab.jobs import JobStatus
from trimtab.ledger import events, examples, gate_history, jobs, label_requests, reports, schema, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.feedback import Outcome
from trimtab.ledger.label_requests import NewRequest, Reason
from trimtab.ledger.versions import VersionState
from trimtab.settings import DriftSettings, PolicySettings, Settings

RIGHT = 0.9  # accuracy on the labelled reference rows of version 2


def promising(rows: Floats) -> References:
    """All answered "pos", as the place's traffic is, nine in ten of them rightly."""
    answered = np.ones(len(rows), np.int64)
    truth = np.where(np.arange(len(rows)) % 10 < 10 * RIGHT, 1, 0)
    found = labelled({"movie": rows})
    return replace(found, predicted={"movie": answered}, truth={"movie": truth})


@pytest.fixture
def promoted(place: Place, station: Station) -> str:
    """A job has promoted version 2, which entered with one exemplar; its id."""
    feed(place, station, 40, 0.0)
    with place.ledger.begin() as tx:
        job = jobs.open_job(tx, MODEL, cause={}, domain="", window_from_seq=11)
        lease = jobs.claim(tx, job.id, "worker", 60.0)
        assert lease is not None
    place.add_version(2, promising(traffic(600, 0.0, seed=1)), job_id=job.id)
    kept = Example(model=MODEL, domain="d", role="memory", text="x", key="k", version=2, probation=True)
    with place.ledger.begin() as tx:
        jobs.finish(tx, lease, JobStatus.PROMOTED, version=2, reason="every check passed")
        examples.add_examples(tx, [kept])
    assert tick(station)
    return job.id


def serve(place: Place, station: Station, n: int, right: float) -> None:
    """Traffic of version 2, and true labels for all of it, so many of them what was answered."""
    first = place.n_sent + 1
    feed(place, station, n, 0.0, version=2)
    for number in range(first, first + n):
        place.label(number, number, right=number * right % 1.0 < right)
    assert tick(station)


def champion(place: Place) -> int:
    with place.ledger.read() as tx:
        return versions.get_aliases(tx, MODEL)["champion"]


def stepped_back() -> float:
    return REGISTRY.get_sample_value("trimtab_rollbacks_total", {"model": MODEL, "actor": "watch"}) or 0.0


@pytest.mark.usefixtures("promoted")
def test_a_version_that_keeps_its_promise_is_kept(place: Place, station: Station) -> None:
    serve(place, station, 100, RIGHT)
    watch = place.state().watch
    assert watch is not None
    assert (watch.version, watch.n_events, watch.of_events, watch.n_labels, watch.broken) == (
        2,
        100,
        150,
        100,
        "",
    )
    assert watch.promised is not None
    assert 0.8 < watch.promised < RIGHT
    assert 0.0 <= watch.statistic < watch.threshold
    serve(place, station, 60, RIGHT)
    state = place.state()
    assert (champion(place), state.watching_version, state.watch, state.step_backs) == (2, 0, None, 0)
    with place.ledger.read() as tx:
        assert [each.probation for each in examples.list_examples(tx, MODEL, "memory")] == [False]
        ended = next(each for each in events.list_events(tx) if each.kind == "watch_ended")
    assert (ended.detail["version"], ended.detail["examples"]) == (2, 1)


def test_a_version_that_breaks_its_promise_is_stepped_back_from(
    place: Place, station: Station, promoted: str
) -> None:
    before = stepped_back()
    serve(place, station, 60, 0.3)
    assert champion(place) == 1
    assert stepped_back() == before + 1
    with place.ledger.read() as tx:
        version = versions.get_version(tx, MODEL, 2)
        job = jobs.get_job(tx, promoted)
        (window,) = gate_history.quarantined(tx, MODEL)
        assert examples.list_examples(tx, MODEL, "memory") == []
        event = next(each for each in events.list_events(tx) if each.kind == "rolled_back")
    assert version.state is VersionState.ROLLED_BACK
    assert "labelled answers are right" in version.reason
    assert (event.actor, event.detail["rolled_back"], event.detail["reason"]) == ("watch", 2, version.reason)
    assert (window.from_seq, window.to_seq, window.version, window.job_id) == (11, 40, 2, promoted)
    assert job.status is JobStatus.PROMOTED
    assert "rolled back" in job.reason
    assert tick(station)
    state = place.state()
    assert (state.version, state.watching_version, state.watch) == (1, 0, None)
    assert (state.unhelpful, state.step_backs) == (1, 1)


def test_a_window_that_it_learnt_nothing_from_is_not_quarantined(
    place: Place, station: Station, promoted: str
) -> None:
    """References, a temperature, a version of before: what is wrong with it is not the window's."""
    with place.ledger.begin() as tx:
        theirs = (schema.versions.c.model == MODEL, schema.versions.c.n == 2)
        tx.execute(update(schema.versions).where(*theirs).values(manifest={"training": {"learnt": False}}))
    serve(place, station, 60, 0.3)
    assert champion(place) == 1
    with place.ledger.read() as tx:
        assert gate_history.quarantined(tx, MODEL) == []
        assert "rolled back" in jobs.get_job(tx, promoted).reason


@pytest.mark.usefixtures("promoted")
def test_it_needs_no_more_labels_than_it_takes(place: Place, station: Station) -> None:
    """All wrong: found while most of the watch is still to come."""
    feed(place, station, 20, 0.0, version=2)
    while champion(place) == 2:
        last = place.n_sent
        feed(place, station, 10, 0.0, version=2)
        place.label(last + 1, place.n_sent, right=False)
        assert tick(station)
        assert place.n_sent < 120
    assert place.state().watch is not None


@pytest.mark.usefixtures("promoted")
def test_labels_that_were_asked_for_where_errors_are_likely_do_not_count(
    place: Place, station: Station
) -> None:
    feed(place, station, 60, 0.0, version=2)
    with place.ledger.begin() as tx:
        asked = [
            NewRequest(
                seq=seq, key=f"k{seq}", part="train", reason=Reason.RANDOM if seq > 80 else Reason.UNCERTAIN
            )
            for seq in range(41, 91)
        ]
        label_requests.ask(tx, MODEL, "j", asked, expires_at=4e9)
    place.label(41, 80, right=False)
    place.label(81, 90, right=True)
    assert tick(station)
    watch = place.state().watch
    assert watch is not None
    assert (champion(place), watch.n_labels, watch.accuracy) == (2, 10, 1.0)


@pytest.mark.usefixtures("promoted")
def test_where_there_is_nothing_to_go_back_to_a_person_must_look(place: Place, station: Station) -> None:
    feed(place, station, 20, 0.0, version=2)
    with place.ledger.begin() as tx:
        versions.drop_alias(tx, MODEL, "previous", actor="operator", reason="test")
    place.label(41, 60, right=False)
    for _ in range(2):
        assert tick(station)
    state = place.state()
    assert (champion(place), state.watching_version, state.unhelpful) == (2, 0, 2)
    assert "promise broken" in state.detail
    with place.ledger.read() as tx:
        assert "promise_broken" in {each.kind for each in events.list_events(tx)}


@pytest.mark.usefixtures("promoted")
def test_what_somebody_did_during_the_look_is_not_undone(
    place: Place, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator steps back between the look and its consequence: the watch does not step back once more."""
    feed(place, station, 20, 0.0, version=2)
    place.label(41, 60, right=False)
    judged = probation.judge

    def slow_judge(found: Traffic, state: MonitorState, baseline: Baseline, settings: Settings) -> object:
        with place.ledger.begin() as tx:
            versions.rollback(tx, MODEL, actor="operator", reason="quicker")
        return judged(found, state, baseline, settings)

    monkeypatch.setattr(probation, "judge", slow_judge)
    assert tick(station)
    with place.ledger.read() as tx:
        assert versions.get_version(tx, MODEL, 2).reason == "quicker"
        assert gate_history.quarantined(tx, MODEL) == []


@pytest.mark.usefixtures("promoted")
def test_answers_that_no_input_explains_are_enough_without_labels(place: Place, station: Station) -> None:
    rows = traffic(20, 0.0, seed=7)
    rows[3, 4] = np.nan
    feed(place, station, 20, 0.0, version=2)
    place.send(rows, version=2)
    assert tick(station)
    assert champion(place) == 1
    with place.ledger.read() as tx:
        assert "not finite" in versions.get_version(tx, MODEL, 2).reason


@pytest.mark.usefixtures("promoted")
def test_a_restarted_monitor_goes_on_with_the_watch(place: Place, station: Station) -> None:
    serve(place, station, 40, RIGHT)
    with place.ledger.read() as tx:
        state = reports.load_state(tx, MODEL)
    assert state is not None
    assert MonitorState.from_json(state.to_json()) == state
    assert state.watch is not None


class TestJudge:
    """Many watches, without a ledger."""

    ALPHA = 0.2
    SETTINGS = Settings(
        policy=PolicySettings(watch_events=2000, watch_alpha=ALPHA),
        drift=DriftSettings(window=200, long_window=400, check_every=50),
    )
    ROWS = traffic(1000, 0.0, seed=1)
    BASELINE = Baseline(2, know_domains({"movie": ROWS}), promising(ROWS), (THRESHOLDS,))

    def watched(self, risk: float, seed: int) -> bool:
        """Whether the watch breaks: 2,000 events in ten looks, every second labelled, at this risk."""
        rng = np.random.default_rng(seed)
        wrong = rng.random(1000) < risk
        state = MonitorState(model=MODEL, version=2, watching_version=2)
        for look in range(1, 11):
            rows = rng.normal(size=(200, self.ROWS.shape[1])).astype(np.float32)
            window = replace(samples_of(rows), labels=(LABELS[1],) * 200)
            outcomes = [Outcome(seq=i, right=not each) for i, each in enumerate(wrong[: 100 * look])]
            watch = judge(
                Traffic(outcomes=outcomes, window=window, n_events=200 * look),
                state,
                self.BASELINE,
                self.SETTINGS,
            )
            if watch.broken:
                return True
            state = replace(state, watch=watch)
        return False

    def test_a_version_at_the_edge_of_its_promise_is_stepped_back_from_as_rarely_as_is_promised(self) -> None:
        promised = judge(
            Traffic(outcomes=[], window=samples_of(self.ROWS[:200]), n_events=0),
            MonitorState(model=MODEL, watching_version=2), self.BASELINE, self.SETTINGS,
        ).promised  # fmt: skip
        assert promised is not None
        n = 90
        broken = sum(self.watched(1.0 - promised, seed) for seed in range(n))
        assert broken <= binom.ppf(0.999, n, self.ALPHA)

    def test_a_version_as_good_as_on_its_reference_is_kept(self) -> None:
        n = 40
        assert sum(self.watched(1.0 - RIGHT, seed) for seed in range(n)) <= binom.ppf(
            0.999, n, self.ALPHA / 10
        )

    def test_a_bad_version_is_found(self) -> None:
        assert all(self.watched(0.3, seed) for seed in range(20))

    @pytest.mark.parametrize(("arm", "broken"), [("short", False), ("labels", True)])
    def test_errors_on_inputs_that_drifted_away_are_the_drifts(self, arm: str, broken: bool) -> None:
        """And they stay so when the drift is over; where only labels alarm, the version is to blame."""
        alarm = ArmStatistic(name=arm, statistic=2.0, threshold=1.0)
        state = MonitorState(model=MODEL, watching_version=2, arms=(alarm,), change_from_seq=100)
        outcomes = [Outcome(seq=i, right=i < 100) for i in range(200)]
        found = Traffic(outcomes=outcomes, window=samples_of(self.ROWS[:100]), n_events=100)
        watch = judge(found, state, self.BASELINE, self.SETTINGS)
        assert (bool(watch.broken), watch.until_seq, watch.n_labels) == (
            broken,
            0 if broken else 100,
            200 if broken else 100,
        )
        over = replace(state, arms=(), change_from_seq=None, watch=watch)
        assert judge(found, over, self.BASELINE, self.SETTINGS).until_seq == watch.until_seq

    def test_without_labelled_reference_rows_nothing_is_promised(self) -> None:
        silent = replace(
            self.BASELINE, references=References(self.BASELINE.references.feature_map, {"movie": self.ROWS})
        )
        outcomes = [Outcome(seq=i, right=False) for i in range(200)]
        state = MonitorState(model=MODEL, watching_version=2)
        found = Traffic(outcomes=outcomes, window=samples_of(self.ROWS[:200]), n_events=200)
        watch = judge(found, state, silent, self.SETTINGS)
        assert (watch.promised, watch.n_labels, watch.broken) == (None, 200, "")

    def test_a_look_at_the_outputs_is_made_once_a_window(self) -> None:
        state = MonitorState(model=MODEL, watching_version=2)
        collapsed = replace(samples_of(self.ROWS[:200]), labels=(LABELS[0],) * 200)
        early = judge(
            Traffic(outcomes=[], window=collapsed, n_events=199), state, self.BASELINE, self.SETTINGS
        )
        assert (early.n_looks, early.broken) == (0, "")
        due = judge(Traffic(outcomes=[], window=collapsed, n_events=200), state, self.BASELINE, self.SETTINGS)
        assert due.n_looks == 1
        assert "'neg'" in due.broken or "'pos'" in due.broken
        seen = replace(state, watch=replace(due, broken=""))
        again = judge(
            Traffic(outcomes=[], window=collapsed, n_events=210), seen, self.BASELINE, self.SETTINGS
        )
        assert (again.n_looks, again.broken) == (1, "")
