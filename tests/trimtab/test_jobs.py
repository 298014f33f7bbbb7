from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import IllegalTransition
from trimtab.jobs import IN_FLIGHT, TRANSITIONS, AdaptationJob, JobStatus, require_transition

FINAL = {
    JobStatus.PROMOTED,
    JobStatus.REJECTED,
    JobStatus.HELD,
    JobStatus.FAILED,
    JobStatus.CANCELLED,
    JobStatus.TIMED_OUT,
}


def test_every_status_says_where_it_may_go_and_what_it_means():
    assert set(TRANSITIONS) == set(JobStatus)
    assert all(status.meaning.endswith(".") for status in JobStatus)


def test_a_job_is_in_flight_until_it_is_final():
    assert {status for status in JobStatus if status.final} == FINAL
    assert set(JobStatus) - FINAL == IN_FLIGHT


@pytest.mark.parametrize("status", sorted(FINAL))
@pytest.mark.parametrize("after", list(JobStatus))
def test_nothing_follows_a_final_status(status: JobStatus, after: JobStatus):
    with pytest.raises(IllegalTransition, match=f"from {status} to {after}"):
        require_transition(status, after)


@pytest.mark.parametrize("status", sorted(IN_FLIGHT))
def test_every_unfinished_job_can_be_cancelled_and_can_time_out(status: JobStatus):
    require_transition(status, JobStatus.CANCELLED)
    require_transition(status, JobStatus.TIMED_OUT)


@pytest.mark.parametrize("before", [JobStatus.QUEUED, JobStatus.WAITING_FOR_LABELS])
@pytest.mark.parametrize("after", [JobStatus.PROMOTED, JobStatus.REJECTED])
def test_a_gates_verdict_comes_from_a_running_job_only(before: JobStatus, after: JobStatus):
    with pytest.raises(IllegalTransition):
        require_transition(before, after)


def test_a_job_on_trial_ends_with_its_trial():
    may_become = {status for status in JobStatus if status in TRANSITIONS[JobStatus.ON_TRIAL]}
    assert may_become == FINAL


def test_a_job_that_waits_for_labels_is_queued_before_it_runs():
    with pytest.raises(IllegalTransition):
        require_transition(JobStatus.WAITING_FOR_LABELS, JobStatus.RUNNING)


@given(st.lists(st.sampled_from(JobStatus), max_size=8))
def test_no_legal_path_leaves_a_final_status(path: list[JobStatus]):
    status = JobStatus.QUEUED
    for after in path:
        was_final = status.final
        try:
            require_transition(status, after)
        except IllegalTransition:
            continue
        assert not was_final
        status = after


def test_a_job_cannot_be_changed_in_place():
    job = AdaptationJob(id="1", model="m", status=JobStatus.QUEUED, cause={}, domain="d", window_from_seq=1)
    with pytest.raises(AttributeError):
        job.status = JobStatus.RUNNING  # type: ignore[misc]
