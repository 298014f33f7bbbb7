"""`trimtab jobs`: what a job lacks, and how to cancel one by the id that the table shows."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from service.cli.jobs import _jobs
from tests.fixtures.calls import Outcome, Trimtab
from tests.fixtures.deployment import Deployment
from trimtab.errors import InvalidInput, JobNotFound
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, schema, trials


@pytest.fixture
def job(toy: Deployment) -> str:
    """A job of model `toy` that waits for labels."""
    toy.create_model()
    with toy.ledger.begin() as tx:
        return jobs.open_job(
            tx, "toy", cause={"kind": "drift"}, domain="shop", window_from_seq=1,
            status=JobStatus.WAITING_FOR_LABELS, missing={"train": 12, "gate": 3},
        ).id  # fmt: skip


@pytest.fixture
def call(toy: Deployment, trimtab: Trimtab) -> Trimtab:
    """`trimtab jobs` on that home."""

    def jobs_command(*arguments: object) -> Outcome:
        return trimtab("--home", toy.settings.home, "jobs", *arguments)

    return jobs_command


def test_a_waiting_job_says_what_is_missing(call: Trimtab, job: str) -> None:
    (shown,) = call("toy", "--json").document
    assert (shown["id"], shown["status"], shown["domain"]) == (job, "waiting_for_labels", "shop")
    table = call().out
    assert job[:8] in table
    assert "missing labels: train 12, gate 3" in table
    assert call("--json", "--limit", 1).document == [shown]


def test_a_job_on_trial_says_how_far_it_is(call: Trimtab, toy: Deployment, job: str) -> None:
    toy.add_version(1)
    toy.add_version(2, promote=False)
    with toy.ledger.begin() as tx:
        jobs.requeue_waiting(tx, job)
        lease = jobs.claim(tx, job, "tester", 60.0)
        assert lease is not None
        trials.start_trial(tx, "toy", 2, champion=1, job_id=job, reason="12 of 200 answers", actor="test")
        jobs.await_trial(tx, lease, verdict={"verdict": "promote"}, version=2, reason="it passed")
    assert call("--json").document[0]["status"] == "on_trial"
    (fact,) = _jobs(toy.settings, "toy", 5).facts
    assert fact == f"{job[:8]}  toy  on_trial  version 2  version 2 shadow  12 of 200 answers"
    assert call("cancel", job[:8]).out == f"toy: job {job} is cancelled.\n"
    with toy.ledger.read() as tx:
        assert trials.open_trials(tx) == {}
    assert "shadow" not in call().out


def test_cancel_takes_the_id_that_the_table_shows(call: Trimtab, toy: Deployment, job: str) -> None:
    done = call("cancel", job[:8])
    assert (done.code, done.out) == (0, f"toy: job {job} is cancelled.\n")
    with toy.ledger.read() as tx:
        ended = jobs.get_job(tx, job)
    assert (ended.status, ended.reason) == (JobStatus.CANCELLED, "cancelled by command line")
    assert "had already ended: cancelled" in call("cancel", job).out
    assert call("cancel", job, "--json").document["status"] == "cancelled"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("cancel", "0" * 8), "no job 00000000"),
        (("stop", "it"), "trimtab jobs cancel ID"),
        (("nobody",), "nobody"),
    ],
)
def test_what_is_not_there_is_told(call: Trimtab, job: str, words: tuple[str, ...], told: str) -> None:
    outcome = call(*words)
    assert outcome.code == 2
    assert told in outcome.err


def test_an_id_that_fits_two_jobs_is_refused(toy: Deployment) -> None:
    toy.create_model()
    ids = [f"abcdef01{'0' * 23}{n}" for n in range(2)]
    rows = [
        {
            "id": each, "model": "toy", "status": JobStatus.CANCELLED, "cause": {}, "domain": "d",
            "reason": "", "window_from_seq": 1, "lease_token": 0, "attempts": 0, "created_at": 1.0,
        }
        for each in ids
    ]  # fmt: skip
    with toy.ledger.begin() as tx:
        tx.execute(insert(schema.jobs), rows)
    with toy.ledger.read() as tx:
        assert jobs.find_job(tx, ids[1]).id == ids[1]
        with pytest.raises(InvalidInput, match="Several jobs begin with abcdef01"):
            jobs.find_job(tx, "abcdef01")
        for given in ("abcdef0", "abcdef0_", "%" * 8):
            with pytest.raises(JobNotFound):
                jobs.find_job(tx, given)
