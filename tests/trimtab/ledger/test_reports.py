from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from trimtab.drift import ArmStatistic, DriftReport, DriftState, FeatureDrift, MonitorState
from trimtab.errors import NothingToAcknowledge, ReportNotFound
from trimtab.ledger import clock, reports
from trimtab.ledger.events import list_events


def report(number: int, model: str = "sentiment") -> DriftReport:
    return DriftReport(
        id=f"report-{number}",
        model=model,
        version=1,
        created_at=1000.0 + number,
        first_seq=number,
        last_seq=number + 499,
        n_window=500,
        events_seen=number,
        state=DriftState.DRIFTING,
        arms=(ArmStatistic(name="mixture", statistic=0.3, threshold=0.1),),
        features=(FeatureDrift(name="pc1", ks=0.4),),
        max_ks=0.4,
        alarm=True,
        actionable=True,
        calibrated=True,
        nearest="movie",
        mixture={"movie": 1.0},
        change_from_seq=number + 17,
        explanation="pc1 moved\0",
    )


def test_a_report_comes_back_as_it_was(tx: Connection):
    assert reports.save_report(tx, report(1)) is True
    assert reports.get_report(tx, "report-1") == report(1)


def test_a_report_is_kept_once(tx: Connection):
    reports.save_report(tx, report(1))
    assert reports.save_report(tx, replace(report(1), explanation="again")) is False
    assert reports.get_report(tx, "report-1").explanation == report(1).explanation


def test_the_job_that_a_report_opened(tx: Connection):
    reports.save_report(tx, report(1))
    reports.save_report(tx, replace(report(2), job_id="job-2"))
    reports.set_report_job(tx, "report-1", "job-1")
    assert reports.get_report(tx, "report-1") == replace(report(1), job_id="job-1")
    assert [each.job_id for each in reports.list_reports(tx, "sentiment")] == ["job-2", "job-1"]


def test_reports_by_pages_newest_first(tx: Connection):
    for number in range(5):
        reports.save_report(tx, report(number))
    reports.save_report(tx, report(9, model="another"))
    page = reports.list_reports(tx, "sentiment", limit=2)
    assert [each.id for each in page] == ["report-4", "report-3"]
    page = reports.list_reports(tx, "sentiment", limit=2, after=page[-1].id)
    assert [each.id for each in page] == ["report-2", "report-1"]
    page = reports.list_reports(tx, "sentiment", limit=2, after=page[-1].id)
    assert [each.id for each in page] == ["report-0"]


def test_an_unknown_report_is_named(tx: Connection):
    with pytest.raises(ReportNotFound, match="nothing"):
        reports.get_report(tx, "nothing")
    with pytest.raises(ReportNotFound, match="nothing"):
        reports.set_report_job(tx, "nothing", "job-1")
    with pytest.raises(ReportNotFound, match="nothing"):
        reports.list_reports(tx, "sentiment", after="nothing")


def test_the_monitor_goes_on_where_it_stopped(tx: Connection):
    assert reports.load_state(tx, "sentiment") is None
    state = MonitorState(model="sentiment", state=DriftState.OK, events_seen=7, reference_domains=("movie",))
    reports.save_state(tx, state)
    reports.save_state(tx, replace(state, events_seen=8))
    reports.save_state(tx, MonitorState(model="another"))
    assert reports.load_state(tx, "sentiment") == replace(state, events_seen=8)


def test_old_reports_go_unless_they_opened_a_job(tx: Connection):
    now = clock.now(tx)
    reports.save_report(tx, replace(report(1), created_at=now - 100.0))
    reports.save_report(tx, replace(report(2), created_at=now - 100.0, job_id="job-2"))
    reports.save_report(tx, replace(report(3), created_at=now - 100.0))
    reports.save_report(tx, replace(report(4), created_at=now))
    assert reports.expire_reports(tx, 50.0, limit=1) == 1
    assert reports.expire_reports(tx, 50.0) == 1
    assert reports.expire_reports(tx, 50.0) == 0
    assert [each.id for each in reports.list_reports(tx, "sentiment")] == ["report-4", "report-2"]


def test_an_operator_acknowledges_a_confirmed_alarm(tx: Connection):
    arms = (ArmStatistic(name="short", statistic=0.3, threshold=0.1),)
    drifting = MonitorState(model="sentiment", state=DriftState.DRIFTING, in_alarm=True, arms=arms)
    reports.save_state(tx, drifting)
    accepted = reports.acknowledge(tx, "sentiment", "ada")
    assert accepted == reports.load_state(tx, "sentiment")
    assert (accepted.state, accepted.acknowledged_ratio) == (DriftState.ACKNOWLEDGED, pytest.approx(3.0))
    assert "ada" in accepted.detail
    assert [(event.kind, event.actor) for event in list_events(tx)][-1] == ("drift_acknowledged", "ada")


def test_without_a_confirmed_alarm_there_is_nothing_to_acknowledge(tx: Connection):
    with pytest.raises(NothingToAcknowledge):
        reports.acknowledge(tx, "sentiment", "ada")
    reports.save_state(tx, MonitorState(model="sentiment", state=DriftState.SUSPECT))
    with pytest.raises(NothingToAcknowledge):
        reports.acknowledge(tx, "sentiment", "ada")
