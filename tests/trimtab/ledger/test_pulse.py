from __future__ import annotations

from sqlalchemy import Connection

from tests.fixtures.ledgers import filled_model
from trimtab.drift import DriftReport, DriftState
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, reports, trials, versions
from trimtab.ledger.pulse import pulse
from trimtab.trial import Stage


def report(n: int) -> DriftReport:
    return DriftReport(
        id=f"r{n}",
        model="sentiment",
        version=1,
        created_at=1.0,
        first_seq=1,
        last_seq=n,
        n_window=1,
        events_seen=n,
        state=DriftState.OK,
        arms=(),
        features=(),
        max_ks=0.0,
        alarm=False,
        actionable=False,
        calibrated=True,
        nearest="",
    )


def test_a_quiet_service_has_a_steady_pulse(tx: Connection):
    filled_model(tx)
    assert pulse(tx) == {"sentiment": {"generation": 1, "report": 0, "job": None, "trial": None}} == pulse(tx)


def test_each_change_changes_it(tx: Connection):
    model = filled_model(tx)
    seen = [pulse(tx)]

    def changed() -> bool:
        seen.append(pulse(tx))
        return seen[-1] != seen[-2]

    reports.save_report(tx, report(1))
    assert changed()
    reports.save_report(tx, report(2))
    assert changed()
    job = jobs.open_job(
        tx,
        model,
        cause={},
        domain="d",
        window_from_seq=0,
        status=JobStatus.WAITING_FOR_LABELS,
        missing={"gate": 2},
    )
    assert changed()
    jobs.update_missing(tx, job.id, {"gate": 1})
    assert changed()
    jobs.requeue_waiting(tx, job.id)
    lease = jobs.claim(tx, job.id, "w", 60.0)
    assert lease is not None
    assert changed()
    jobs.set_progress(tx, lease, {"step": 1})
    assert changed()
    jobs.renew(tx, lease, 90.0)
    assert not changed()
    jobs.finish(tx, lease, JobStatus.REJECTED)
    assert changed()
    versions.promote(tx, model, 2, actor="test", reason="")
    assert changed()
    quiet = {"report": seen[2][model]["report"], "job": None, "trial": None}
    assert seen[-1][model] == {"generation": 2, **quiet}


def test_what_a_trial_has_seen_is_news(tx: Connection):
    model = filled_model(tx)
    trial = trials.start_trial(tx, model, 2, champion=1, job_id=None, reason="began", actor="test")
    assert pulse(tx)[model]["trial"] == "began"
    trials.observe(tx, trial, reason="3 of 200 answers", evidence={"n": 3})
    assert pulse(tx)[model]["trial"] == "3 of 200 answers"
    trials.end(tx, trial, Stage.ABANDONED, reason="test", actor="test")
    assert pulse(tx)[model]["trial"] is None
