"""Trials in the ledger: one open a model; an end settles version, alias, memory and job in one transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tests.fixtures.ledgers import block, filled_model, sample
from trimtab.errors import VersionRefused
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import Ledger, events, examples, jobs, models, samples, trials, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.versions import VersionState
from trimtab.trial import CHALLENGER, Stage, Trial


@pytest.fixture
def job(tx: Connection, model: str) -> AdaptationJob:
    """A job on trial with version 2, which came with an exemplar on probation."""
    opened = jobs.open_job(tx, model, cause={}, domain="d", window_from_seq=1)
    lease = jobs.claim(tx, opened.id, "worker", 60.0)
    assert lease is not None
    kept = Example(model=model, domain="d", role="memory", text="x", key="k", version=2, probation=True)
    examples.add_examples(tx, [kept])
    return jobs.await_trial(tx, lease, verdict={"verdict": "promote"}, version=2, reason="passed")


@pytest.fixture
def trial(tx: Connection, model: str, job: AdaptationJob) -> Trial:
    samples.ingest(tx, [block("b", [sample(1), sample(2)])])
    return started(tx, model, job_id=job.id)


def started(tx: Connection, model: str, version: int = 2, job_id: str | None = None) -> Trial:
    return trials.start_trial(
        tx, model, version, champion=1, job_id=job_id, reason="every check passed", actor="worker"
    )


def kinds(tx: Connection) -> list[str]:
    return [each.kind for each in events.list_events(tx, limit=1000)]


def generation(tx: Connection, model: str) -> int:
    return models.get_model(tx, model).generation


def memory(tx: Connection, model: str) -> int:
    return len(examples.list_examples(tx, model, "memory"))


def test_a_trial_begins_unseen_after_the_newest_prediction(tx: Connection, model: str, trial: Trial) -> None:
    assert (trial.stage, trial.share, trial.champion, trial.first_seq, trial.from_seq) == (
        Stage.SHADOW, 0.0, 1, 2, 2,
    )  # fmt: skip
    assert versions.get_aliases(tx, model) == {"champion": 1, CHALLENGER: 2}
    assert trials.open_trials(tx) == {model: trial}
    assert trials.open_trial(tx, model, lock=True) == trials.get_trial(tx, model, 2) == trial
    assert kinds(tx)[-1] == "trial_started"


def test_the_job_waits_for_its_end_and_is_in_flight(tx: Connection, model: str, job: AdaptationJob) -> None:
    assert (job.status, job.version, job.lease_owner) == (JobStatus.ON_TRIAL, 2, None)
    assert jobs.in_flight(tx, model) == job
    assert jobs.claim(tx, job.id, "another", 60.0) is None
    assert jobs.claimable_jobs(tx) == []


def test_two_trials_at_once_are_not_to_be_had(tx: Connection, model: str, trial: Trial) -> None:
    with pytest.raises(IntegrityError), tx.begin_nested():
        started(tx, model, version=3)
    assert trials.open_trials(tx) == {model: trial}


def test_what_cannot_be_served_is_not_tried(tx: Connection, model: str) -> None:
    versions.quarantine(tx, model, 2, reason="broken", replica="r")
    with pytest.raises(VersionRefused):
        started(tx, model)
    assert trials.open_trials(tx) == {}


def test_the_next_stage_begins_after_the_newest_prediction_and_replicas_see_it(
    tx: Connection, model: str, trial: Trial
) -> None:
    samples.ingest(tx, [block("b2", [sample(3)])])
    before = generation(tx, model)
    after = trials.advance(tx, trial, Stage.CANARY, 0.05, reason="held", evidence={"n": 3})
    assert (after.stage, after.share, after.first_seq, after.from_seq, after.reason, after.evidence) == (
        Stage.CANARY, 0.05, 2, 3, "held", {"n": 3},
    )  # fmt: skip
    assert after.stage_at >= trial.stage_at
    assert generation(tx, model) == before + 1
    assert trials.open_trials(tx) == {model: after}
    assert kinds(tx)[-1] == "trial_advanced"


def test_what_is_seen_meanwhile_is_no_news_for_replicas(tx: Connection, model: str, trial: Trial) -> None:
    before = generation(tx, model)
    trials.observe(tx, trial, reason="5 of 9", evidence={"n": 5})
    found = trials.open_trial(tx, model)
    assert found is not None
    assert (found.reason, found.evidence, found.from_seq) == ("5 of 9", {"n": 5}, trial.from_seq)
    assert generation(tx, model) == before


def test_a_trial_that_is_passed_makes_the_champion(tx: Connection, model: str, trial: Trial) -> None:
    before = generation(tx, model)
    jobs.end_trial(tx, trial, Stage.PROMOTED, reason="it held", actor="trial", evidence={"n": 9})
    assert versions.get_aliases(tx, model) == {"champion": 2, "previous": 1}
    assert versions.get_version(tx, model, 2).state is VersionState.ACCEPTED
    assert ended(tx, trial) == (Stage.PROMOTED, JobStatus.PROMOTED, "it held", {"n": 9})
    assert (memory(tx, model), generation(tx, model) > before) == (1, True)
    assert {"promoted", "trial_ended", "job_finished"} <= set(kinds(tx))


@pytest.mark.parametrize(
    ("stage", "state", "status"),
    [
        (Stage.REJECTED, VersionState.REJECTED, JobStatus.REJECTED),
        (Stage.ABANDONED, VersionState.HELD, JobStatus.HELD),
    ],
)
def test_a_trial_that_is_not_passed_leaves_nothing_behind(
    tx: Connection, model: str, trial: Trial, stage: Stage, state: VersionState, status: JobStatus
) -> None:
    before = generation(tx, model)
    jobs.end_trial(tx, trial, stage, reason="no", actor="trial")
    assert versions.get_aliases(tx, model) == {"champion": 1}
    assert (versions.get_version(tx, model, 2).state, versions.get_version(tx, model, 2).reason) == (
        state, "no",
    )  # fmt: skip
    assert ended(tx, trial) == (stage, status, "no", {})
    assert (memory(tx, model), generation(tx, model) > before) == (0, True)
    assert trials.open_trials(tx) == {}
    assert jobs.in_flight(tx, model) is None


def ended(tx: Connection, trial: Trial) -> tuple[Stage, JobStatus, str, object]:
    found = trials.get_trial(tx, trial.model, trial.version)
    assert found is not None
    assert found.ended_at is not None
    assert found.share == 0.0
    assert found.job_id is not None
    job = jobs.get_job(tx, found.job_id)
    assert job.finished_at is not None
    assert job.reason == found.reason
    return found.stage, job.status, found.reason, dict(found.evidence)


def test_an_end_again_changes_nothing(tx: Connection, model: str, trial: Trial) -> None:
    jobs.end_trial(tx, trial, Stage.REJECTED, reason="no", actor="trial")
    seen, before = kinds(tx), generation(tx, model)
    jobs.end_trial(tx, trial, Stage.PROMOTED, reason="yes", actor="trial")
    assert ended(tx, trial)[:3] == (Stage.REJECTED, JobStatus.REJECTED, "no")
    assert (kinds(tx), generation(tx, model)) == (seen, before)
    assert versions.get_aliases(tx, model)["champion"] == 1


def test_the_next_version_can_be_tried_afterwards(tx: Connection, model: str, trial: Trial) -> None:
    jobs.end_trial(tx, trial, Stage.REJECTED, reason="no", actor="trial")
    again = started(tx, model, version=3)
    assert trials.open_trials(tx) == {model: again}


def test_a_cancelled_job_ends_its_trial(tx: Connection, model: str, trial: Trial) -> None:
    assert trial.job_id is not None
    jobs.cancel(tx, trial.job_id, actor="operator")
    assert ended(tx, trial)[:3] == (Stage.ABANDONED, JobStatus.CANCELLED, "cancelled by operator")
    assert versions.get_aliases(tx, model) == {"champion": 1}
    assert memory(tx, model) == 0


def test_a_job_of_another_model_leaves_it_alone(tx: Connection, trial: Trial) -> None:
    other = jobs.open_job(tx, filled_model(tx, "other"), cause={}, domain="d", window_from_seq=1)
    jobs.cancel(tx, other.id)
    assert trials.open_trials(tx) == {trial.model: trial}


def test_a_quarantined_version_stays_so(tx: Connection, model: str, trial: Trial) -> None:
    versions.quarantine(tx, model, 2, reason="digest", replica="r")
    jobs.end_trial(tx, trial, Stage.REJECTED, reason="refused", actor="trial")
    assert versions.get_version(tx, model, 2).state is VersionState.QUARANTINED


@pytest.mark.parametrize("what", ["promote", "drop", "move"])
def test_replicas_stop_at_once_where_an_operator_decided(
    tx: Connection, model: str, trial: Trial, what: str
) -> None:
    """The trial is still open, for the monitor has not seen it; nobody is answered by it any more."""
    {
        "promote": lambda: versions.promote(tx, model, 3, actor="o", reason="r"),
        "drop": lambda: versions.drop_alias(tx, model, CHALLENGER, actor="o", reason="r"),
        "move": lambda: versions.set_alias(tx, model, CHALLENGER, 3, actor="o", reason="r"),
    }[what]()
    assert trials.open_trials(tx) == {}
    assert trials.open_trial(tx, model) == trial


def test_an_alias_that_an_operator_moved_is_left_to_them(tx: Connection, model: str, trial: Trial) -> None:
    versions.set_alias(tx, model, CHALLENGER, 3, actor="operator", reason="r")
    jobs.end_trial(tx, trial, Stage.ABANDONED, reason="moved", actor="trial")
    assert versions.get_aliases(tx, model) == {"champion": 1, CHALLENGER: 3}


def test_what_was_never_on_trial_cannot_end(tx: Connection, model: str, trial: Trial) -> None:
    assert trials.get_trial(tx, model, 3) is None
    assert trials.get_trial(tx, "nobody", 2) is None


def test_what_a_transaction_takes_back_is_not_there(ledger: Ledger) -> None:
    with ledger.begin() as tx:
        model = filled_model(tx)
    with pytest.raises(KeyError), ledger.begin() as tx:
        raise KeyError(started(tx, model).version)
    with ledger.read() as tx:
        assert trials.open_trials(tx) == {}
        assert CHALLENGER not in versions.get_aliases(tx, model)
