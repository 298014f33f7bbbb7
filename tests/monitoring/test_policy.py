"""The table of decisions: every state, what leads to it, and what stands against a job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from monitoring.policy import (
    Change,
    Decision,
    Rules,
    after_change,
    after_job,
    after_watch,
    cooldown_s,
    decide,
    enter,
    settle,
    why_not,
)
from trimtab.drift import ArmStatistic, DriftKind, DriftReport, DriftState, MonitorState
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.settings import DriftSettings, PolicySettings

NOW = 10_000.0
RULES = Rules(confirm_checks=2, cooldown_s=600.0, max_failures=2)
QUIET = MonitorState(model="m", version=1, state=DriftState.OK, since=1.0)
SUSPECT = replace(QUIET, state=DriftState.SUSPECT, consecutive=1, change_from_seq=70)
ALARMED = replace(
    QUIET, state=DriftState.DRIFTING, in_alarm=True, consecutive=3, change_from_seq=42, alarms_total=1
)


def report(ratio: float, **changes: Any) -> DriftReport:
    alarm = ratio > 1
    values: dict[str, Any] = {
        "id": "r",
        "model": "m",
        "version": 1,
        "created_at": NOW,
        "first_seq": 1,
        "last_seq": 500,
        "n_window": 500,
        "events_seen": 500,
        "state": DriftState.OK,
        "arms": (ArmStatistic(name="energy", statistic=ratio, threshold=1.0),),
        "features": (),
        "max_ks": 0.3 if alarm else 0.05,
        "alarm": alarm,
        "actionable": alarm,
        "calibrated": True,
        "nearest": "movie",
        "mixture": {"movie": 1.0},
        "change_from_seq": 90 if alarm else None,
    }
    return DriftReport(**(values | changes))


def job(status: JobStatus, **changes: Any) -> AdaptationJob:
    values: dict[str, Any] = dict.fromkeys(AdaptationJob.__dataclass_fields__)
    values |= {
        "id": "j1",
        "model": "m",
        "status": status,
        "cause": {},
        "finished_at": NOW - 100 if status.final else None,
    }
    return AdaptationJob(**(values | changes))


def decided(state: MonitorState, seen: DriftReport, **changes: Any) -> Decision:
    return decide(state, seen, **({"now": NOW, "in_flight": None, "rules": RULES} | changes))


@pytest.mark.parametrize(
    ("state", "seen", "entered"),
    [
        (QUIET, report(0.5), DriftState.OK),
        (QUIET, report(0.5, calibrated=False), DriftState.CALIBRATING),
        (QUIET, report(0.5, nearest="mixture", mixture={"a": 0.4, "b": 0.6}), DriftState.KNOWN),
        (QUIET, report(1.5), DriftState.SUSPECT),
        (SUSPECT, report(1.5, actionable=False, max_ks=0.05), DriftState.SUSPECT),
        (SUSPECT, report(0.9), DriftState.OK),
        (SUSPECT, report(1.5), DriftState.ADAPTING),
        (SUSPECT, report(1.5, calibrated=False), DriftState.ADAPTING),
        (ALARMED, report(0.8), DriftState.ADAPTING),
        (ALARMED, report(0.6), DriftState.OK),
        (replace(ALARMED, cooldown_until=NOW + 1), report(1.5), DriftState.COOLDOWN),
        (replace(ALARMED, unhelpful=2), report(1.5), DriftState.NEEDS_HUMAN),
        (replace(ALARMED, acknowledged_ratio=1.4), report(1.5), DriftState.ACKNOWLEDGED),
        (replace(ALARMED, acknowledged_ratio=1.0), report(1.5), DriftState.ADAPTING),
        (replace(ALARMED, unhelpful=2), report(0.5), DriftState.OK),
    ],
)
def test_states(state: MonitorState, seen: DriftReport, entered: DriftState) -> None:
    decision = decided(state, seen)
    assert decision.state.state is entered
    assert decision.reason == decision.state.detail
    assert (decision.job_from_seq is not None) == (entered is DriftState.ADAPTING)


def test_a_confirmed_alarm_opens_a_job_from_the_estimated_start() -> None:
    decision = decided(SUSPECT, report(1.5, change_from_seq=88))
    assert (decision.raised, decision.job_from_seq) == (True, 88)
    assert decision.state.alarms_total == 1
    assert decision.state.change_from_seq == 88


def test_a_lasting_alarm_keeps_its_start_and_is_raised_once() -> None:
    decision = decided(ALARMED, report(2.0, change_from_seq=400))
    assert (decision.raised, decision.job_from_seq) == (False, 42)
    assert decision.state.alarms_total == 1


def test_without_an_estimate_the_window_is_where_the_job_begins() -> None:
    assert decided(SUSPECT, report(1.5, change_from_seq=None)).job_from_seq == 1


def test_one_actionable_check_alone_opens_nothing() -> None:
    decision = decided(QUIET, report(9.0))
    assert (decision.raised, decision.job_from_seq, decision.state.consecutive) == (False, None, 1)


def test_checks_must_be_consecutive() -> None:
    state = QUIET
    for ratio in (1.5, 0.9, 1.5, 0.9, 1.5):
        decision = decided(state, report(ratio))
        state = decision.state
        assert decision.job_from_seq is None


def test_more_checks_may_be_asked_for() -> None:
    rules, state, opened = replace(RULES, confirm_checks=4), QUIET, []
    for _ in range(4):
        decision = decided(state, report(1.5), rules=rules)
        state = decision.state
        opened.append(decision.job_from_seq is not None)
    assert opened == [False, False, False, True]


@pytest.mark.parametrize("ratio", [0.5, 1.5])
@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.WAITING_FOR_LABELS])
def test_one_job_in_flight_at_most(status: JobStatus, ratio: float) -> None:
    decision = decided(ALARMED, report(ratio), in_flight=job(status))
    assert decision.state.state is DriftState.ADAPTING
    assert decision.job_from_seq is None
    assert "j1" in decision.reason


def test_observing_only_alarms_and_opens_nothing() -> None:
    decision = decided(SUSPECT, report(1.5), rules=replace(RULES, act_on="none"))
    assert decision.state.state is DriftState.DRIFTING
    assert (decision.raised, decision.job_from_seq) == (True, None)


@pytest.mark.parametrize("harmful", [False, True])
def test_only_harm_is_acted_on_if_so_asked(harmful: bool) -> None:
    rules = replace(RULES, act_on="harmful")
    decision = decided(SUSPECT, report(1.5, harmful=harmful), rules=rules)
    assert (decision.raised, decision.job_from_seq is not None) == (True, harmful)
    assert decision.state.state is (DriftState.ADAPTING if harmful else DriftState.DRIFTING)


def test_one_clients_traffic_pages_and_trains_nothing() -> None:
    seen = report(1.5, kind=DriftKind.SOURCE, harmful=True, severity=3)
    decision = decided(SUSPECT, seen)
    assert (decision.raised, decision.job_from_seq) == (True, None)
    assert (decision.state.state, decision.state.severity) == (DriftState.DRIFTING, 3)
    assert "paged" in decision.reason


def test_an_accepted_drift_that_proves_harmful_is_acted_on() -> None:
    accepted = replace(ALARMED, acknowledged_ratio=1.5)
    assert decided(accepted, report(1.5)).state.state is DriftState.ACKNOWLEDGED
    assert decided(accepted, report(1.5, harmful=True)).job_from_seq is not None
    knowingly = replace(accepted, acknowledged_harm=True)
    assert decided(knowingly, report(1.5, harmful=True)).job_from_seq is None


def test_an_accepted_drift_may_last() -> None:
    """The e-detector and the long window go on growing; only the short window tells a larger drift."""
    arms = (
        ArmStatistic(name="e_detector", statistic=15.0, threshold=5.0),
        ArmStatistic(name="short", statistic=0.2, threshold=0.1),
        ArmStatistic(name="long", statistic=0.2, threshold=0.02),
    )
    accepted = replace(ALARMED, acknowledged_ratio=1.9)
    assert decided(accepted, report(9.0, arms=arms)).state.state is DriftState.ACKNOWLEDGED


def test_between_alarm_and_resolution_the_kind_is_remembered() -> None:
    """Else a source whose traffic thins out would train after all."""
    paged = decided(SUSPECT, report(1.5, kind=DriftKind.SOURCE, harmful=True, severity=3)).state
    decision = decided(paged, report(0.9))
    assert decision.job_from_seq is None
    assert (decision.state.kind, decision.state.harmful, decision.state.severity) == (
        DriftKind.SOURCE,
        True,
        3,
    )
    resolved = decided(decision.state, report(0.5)).state
    assert (resolved.kind, resolved.harmful, resolved.severity) == (None, False, 0)


def test_an_alarm_resolves_below_seven_tenths_and_not_before() -> None:
    assert decided(ALARMED, report(0.71)).state.in_alarm
    resolved = decided(replace(ALARMED, acknowledged_ratio=2.0), report(0.69)).state
    assert not resolved.in_alarm
    assert resolved.change_from_seq is None
    assert resolved.acknowledged_ratio is None


def test_since_moves_only_when_the_state_changes() -> None:
    assert decided(QUIET, report(0.5)).state.since == 1.0
    assert decided(QUIET, report(1.5)).state.since == NOW
    assert enter(QUIET, DriftState.OK, now=NOW, detail="x").since == 1.0


def test_the_last_statistics_are_remembered() -> None:
    seen = report(1.5, severity=2, kind=DriftKind.VOCABULARY)
    state = decided(QUIET, seen).state
    assert (state.arms, state.severity, state.kind) == (seen.arms, 2, DriftKind.VOCABULARY)


def test_nothing_stands_against_a_first_job() -> None:
    assert why_not(ALARMED, now=NOW, in_flight=None, rules=RULES) is None


@pytest.mark.parametrize(
    ("status", "before", "watching", "after"),
    [
        (JobStatus.REJECTED, 0, 0, 1),
        (JobStatus.HELD, 1, 0, 2),
        (JobStatus.FAILED, 1, 0, 2),
        (JobStatus.TIMED_OUT, 0, 0, 1),
        (JobStatus.CANCELLED, 1, 0, 1),
        (JobStatus.PROMOTED, 1, 0, 1),
        (JobStatus.PROMOTED, 1, 2, 0),
        (JobStatus.REJECTED, 1, 2, 1),
    ],
)
def test_adaptations_that_did_not_help_are_counted(
    status: JobStatus, before: int, watching: int, after: int
) -> None:
    state = replace(ALARMED, unhelpful=before, watching_version=watching)
    counted = after_job(state, job(status), now=NOW, rules=RULES)
    assert counted.unhelpful == after
    assert counted.cooldown_until == NOW - 100 + 600
    assert counted.last_job_id == "j1"
    assert after_job(counted, job(status), now=NOW, rules=RULES) == counted


@pytest.mark.parametrize("status", [JobStatus.REJECTED, JobStatus.HELD, JobStatus.PROMOTED])
def test_another_base_is_no_answer_to_a_drift(status: JobStatus) -> None:
    """Neither a failure nor a cooldown; a promoted one is known as a job's, so that it is watched."""
    state = replace(ALARMED, unhelpful=1)
    counted = after_job(state, job(status, cause={"kind": "rebase"}), now=NOW, rules=RULES)
    assert counted == replace(state, last_job_id="j1")


def test_a_job_that_has_not_ended_counts_as_nothing() -> None:
    assert after_job(ALARMED, job(JobStatus.RUNNING), now=NOW, rules=RULES) == ALARMED


def test_two_promotions_that_were_rolled_back_need_a_human() -> None:
    state = QUIET
    for n in (2, 3):
        state = after_job(state, job(JobStatus.PROMOTED, id=f"j{n}"), now=NOW, rules=RULES)
        state = changed(state, Change.ADAPTED, n)
        state = changed(state, Change.STEPPED_BACK, 1)
    hindrance = why_not(replace(state, cooldown_until=0.0), now=NOW, in_flight=None, rules=RULES)
    assert hindrance is not None
    assert hindrance.state is DriftState.NEEDS_HUMAN


def changed(state: MonitorState, change: Change, version: int) -> MonitorState:
    return after_change(state, change, version=version, last_seq=777, now=NOW, rules=RULES)


def test_another_champion_means_a_new_window_and_no_alarm() -> None:
    state = changed(replace(ALARMED, events_seen=900), Change.ADAPTED, 2)
    assert state.state is DriftState.COLLECTING
    assert (state.version, state.watching_version, state.after_seq, state.checked_seq) == (2, 2, 777, 777)
    assert not state.in_alarm
    assert (state.consumed_seq, state.log_m, state.checks) == (777, (), 0)
    assert (state.consecutive, state.change_from_seq, state.arms) == (0, None, ())
    assert (state.events_seen, state.alarms_total) == (900, 1)


def test_an_operators_choice_starts_the_count_anew_and_a_step_back_cools_down() -> None:
    failed = replace(ALARMED, unhelpful=2)
    assert changed(failed, Change.OPERATED, 2).unhelpful == 0
    assert changed(failed, Change.OPERATED, 2).watching_version == 0
    back = changed(replace(ALARMED, watching_version=1), Change.STEPPED_BACK, 2)
    assert (back.unhelpful, back.watching_version, back.cooldown_until) == (1, 0, NOW + 1200)


def test_each_step_back_in_a_row_doubles_the_cooldown_until_a_version_is_kept() -> None:
    state, pauses = QUIET, []
    for n in (2, 3, 4):
        state = changed(changed(state, Change.ADAPTED, n), Change.STEPPED_BACK, 1)
        pauses.append(state.cooldown_until - NOW)
    assert pauses == [1200, 2400, 4800]
    rejected = after_job(replace(state, cooldown_until=0.0), job(JobStatus.REJECTED), now=NOW, rules=RULES)
    assert rejected.cooldown_until == NOW - 100 + 4800
    kept = after_watch(changed(state, Change.ADAPTED, 5))
    assert (kept.watching_version, kept.watch, kept.unhelpful, kept.step_backs) == (0, None, 0, 0)
    assert changed(kept, Change.STEPPED_BACK, 1).cooldown_until == NOW + 1200
    assert changed(state, Change.OPERATED, 2).step_backs == 0
    assert cooldown_s(10_000, RULES) == RULES.cooldown_s * 1024


@pytest.mark.parametrize(
    ("state", "in_flight", "entered"),
    [
        (QUIET, None, DriftState.OK),
        (QUIET, job(JobStatus.RUNNING), DriftState.ADAPTING),
        (replace(QUIET, state=DriftState.ADAPTING), None, DriftState.COLLECTING),
        (replace(ALARMED, state=DriftState.ADAPTING), None, DriftState.DRIFTING),
        (replace(ALARMED, state=DriftState.ADAPTING, cooldown_until=NOW + 5), None, DriftState.COOLDOWN),
        (replace(ALARMED, state=DriftState.ADAPTING, unhelpful=2), None, DriftState.NEEDS_HUMAN),
    ],
)
def test_jobs_show_between_two_checks(
    state: MonitorState, in_flight: AdaptationJob | None, entered: DriftState
) -> None:
    assert settle(state, now=NOW, in_flight=in_flight, rules=RULES).state is entered


def test_rules_come_from_the_settings() -> None:
    drift = DriftSettings(act_on="none", confirm_checks=3)
    policy = PolicySettings(cooldown_s=5.0, max_failures=4)
    assert Rules.of(drift, policy) == Rules(act_on="none", confirm_checks=3, cooldown_s=5.0, max_failures=4)
