"""When to act: pure functions from the monitor's state and a report to the next state and perhaps a job.

An alarm is confirmed by `confirm_checks` actionable checks in a row and lasts until every statistic is below
`RESOLVED_BELOW` of its threshold. A confirmed alarm opens a job unless something stands against it (`why_not`): one
job in flight at most, a cooldown after each, and after `max_failures` adaptations in a row that did not help a human
must look. `act_on` says what is worth a job: any drift, only what is estimated or labelled to hurt, or nothing. The
traffic of one client out of several never is: it pages, for it could teach the model whatever that client wants.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Self

from trimtab.drift import DriftKind, DriftReport, DriftState, MonitorState
from trimtab.jobs import PRIOR_BACK, AdaptationJob, JobStatus
from trimtab.settings import DriftSettings, PolicySettings

RESOLVED_BELOW = 0.7  # of the threshold: an alarm does not flicker around it
ACKNOWLEDGED_GROWTH = 1.25  # an acknowledged drift is quiet until its size grows by this factor
MAX_DOUBLINGS = 10  # of the cooldown


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The numbers behind a decision; see `DriftSettings` and `PolicySettings`."""

    act_on: Literal["any", "harmful", "none"] = "any"
    confirm_checks: int = 2
    cooldown_s: float = 1800.0
    max_failures: int = 2

    @classmethod
    def of(cls, drift: DriftSettings, policy: PolicySettings) -> Self:
        """The rules that the settings state."""
        return cls(
            act_on=drift.act_on,
            confirm_checks=drift.confirm_checks,
            cooldown_s=policy.cooldown_s,
            max_failures=policy.max_failures,
        )


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What follows from a report.

    Attributes:
        state: The monitor's state after it.
        reason: One line for people: why a job is opened, or why not.
        job_from_seq: Open a job whose window begins at this sample; None: open none.
        raised: The alarm was confirmed by this very report.
    """

    state: MonitorState
    reason: str
    job_from_seq: int | None = None
    raised: bool = False


@dataclass(frozen=True)
class Hindrance:
    """Why no job is opened, and the state that says so."""

    state: DriftState
    reason: str


def decide(
    state: MonitorState, report: DriftReport, *, now: float, in_flight: AdaptationJob | None, rules: Rules
) -> Decision:
    """The next state, and whether a job is opened.

    Args:
        state: After the check before.
        report: Of this check; its `state` is not read.
        now: Epoch seconds.
        in_flight: The model's job that has not ended.
        rules: See `Rules`.
    """
    followed = _follow_alarm(state, report, rules)
    raised = followed.in_alarm and not state.in_alarm
    job_from_seq = None
    if not followed.in_alarm:
        outcome = _quiet(report, in_flight)
    elif hindrance := why_not(followed, now=now, in_flight=in_flight, rules=rules):
        outcome = hindrance
    else:
        start = followed.change_from_seq
        job_from_seq = report.first_seq if start is None else start
        outcome = Hindrance(
            DriftState.ADAPTING, f"Drift confirmed by {followed.consecutive} checks: job opened."
        )
    entered = enter(followed, outcome.state, now=now, detail=outcome.reason)
    return Decision(state=entered, reason=outcome.reason, job_from_seq=job_from_seq, raised=raised)


def why_not(
    state: MonitorState, *, now: float, in_flight: AdaptationJob | None, rules: Rules
) -> Hindrance | None:
    """What stands against opening a job now; None when nothing does. Also asked before an alert opens one."""
    if in_flight is not None:
        return Hindrance(DriftState.ADAPTING, _under_way(in_flight))
    if rules.act_on == "none":
        return Hindrance(DriftState.DRIFTING, "Observing only (drift.act_on = none).")
    if state.kind is DriftKind.SOURCE:
        return Hindrance(DriftState.DRIFTING, DriftKind.SOURCE.action)
    if rules.act_on == "harmful" and not state.harmful:
        reason = "No harm beyond the tolerance is estimated or labelled (drift.act_on = harmful)."
        return Hindrance(DriftState.DRIFTING, reason)
    if _acknowledged(state):
        return Hindrance(DriftState.ACKNOWLEDGED, "An operator accepted a drift of this size.")
    if state.unhelpful >= rules.max_failures:
        reason = f"{state.unhelpful} adaptations in a row did not help: an operator must look."
        return Hindrance(DriftState.NEEDS_HUMAN, reason)
    if now < state.cooldown_until:
        reason = f"The last adaptation is too recent: {state.cooldown_until - now:.0f} s of cooldown left."
        return Hindrance(DriftState.COOLDOWN, reason)
    return None


def after_job(state: MonitorState, job: AdaptationJob, *, now: float, rules: Rules) -> MonitorState:
    """The state once an ended job is taken into account; a job is taken once.

    A cancelled job counts as nothing, nor does another base that was no better, or a prior correction that may stay:
    these were to help no drift. A promotion counts as help when its version's watch has ended, or when the next job
    ends and it still serves; any other end is no help. Each is followed by the cooldown.
    """
    if job.id == state.last_job_id or not job.status.final:
        return state
    before = 0 if state.watching_version else state.unhelpful
    if job.cause.get("kind") in {"rebase", PRIOR_BACK}:
        return replace(state, last_job_id=job.id)
    unhelpful = {JobStatus.PROMOTED: before, JobStatus.CANCELLED: state.unhelpful}.get(job.status, before + 1)
    ended_at = now if job.finished_at is None else job.finished_at
    return replace(
        state,
        last_job_id=job.id,
        unhelpful=unhelpful,
        cooldown_until=max(state.cooldown_until, ended_at + cooldown_s(state.step_backs, rules)),
    )


def cooldown_s(step_backs: int, rules: Rules) -> float:
    """Seconds without a new job: doubled by each version in a row that was stepped back from."""
    return rules.cooldown_s * 2.0 ** min(step_backs, MAX_DOUBLINGS)


def after_watch(state: MonitorState) -> MonitorState:
    """The state once the version on probation is kept: the adaptation helped."""
    return replace(state, watching_version=0, watch=None, unhelpful=0, step_backs=0)


class Change(StrEnum):
    """How another version came to serve."""

    ADAPTED = "a job made it"
    OPERATED = "an operator chose it"
    STEPPED_BACK = "the version before was rolled back or quarantined"


def after_change(
    state: MonitorState, change: Change, *, version: int, last_seq: int, now: float, rules: Rules
) -> MonitorState:
    """The state once another version serves: a new window, a new reference, no alarm.

    Args:
        state: While the version before served.
        change: How the new one came to serve.
        version: The new one.
        last_seq: Newest sample now; the new window begins after it.
        now: Epoch seconds.
        rules: See `Rules`.
    """
    stepped_back = change is Change.STEPPED_BACK
    step_backs = {Change.ADAPTED: state.step_backs, Change.OPERATED: 0}.get(change, state.step_backs + 1)
    unhelpful = {
        Change.ADAPTED: state.unhelpful,
        Change.OPERATED: 0,
        Change.STEPPED_BACK: state.unhelpful + 1,
    }
    fresh = MonitorState(
        model=state.model,
        version=version,
        generation=state.generation,
        state=state.state,
        since=state.since,
        events_seen=state.events_seen,
        alarms_total=state.alarms_total,
        after_seq=last_seq,
        consumed_seq=last_seq,
        checked_seq=last_seq,
        last_job_id=state.last_job_id,
        cooldown_until=now + cooldown_s(step_backs, rules) if stepped_back else state.cooldown_until,
        unhelpful=unhelpful[change],
        watching_version=version if change is Change.ADAPTED else 0,
        step_backs=step_backs,
    )
    return enter(fresh, DriftState.COLLECTING, now=now, detail=f"Version {version} serves: {change}.")


def settle(state: MonitorState, *, now: float, in_flight: AdaptationJob | None, rules: Rules) -> MonitorState:
    """The state between two checks: a job that was opened or has ended since shows at once."""
    if in_flight is not None:
        return enter(state, DriftState.ADAPTING, now=now, detail=_under_way(in_flight))
    if state.state is not DriftState.ADAPTING:
        return state
    if not state.in_alarm:
        return enter(
            state, DriftState.COLLECTING, now=now, detail="The job has ended; the next check will tell."
        )
    hindrance = why_not(state, now=now, in_flight=None, rules=rules)
    reason = hindrance.reason if hindrance else "The job has ended and the drift goes on."
    return enter(state, hindrance.state if hindrance else DriftState.DRIFTING, now=now, detail=reason)


def _under_way(job: AdaptationJob) -> str:
    return f"Job {job.id} is {job.status.replace('_', ' ')}."


def enter(state: MonitorState, entered: DriftState, *, now: float, detail: str) -> MonitorState:
    """The same state under another name; `since` moves only when the name changes."""
    since = state.since if entered is state.state else now
    return replace(state, state=entered, since=since, detail=detail)


def _follow_alarm(state: MonitorState, report: DriftReport, rules: Rules) -> MonitorState:
    consecutive = state.consecutive + 1 if report.actionable else 0
    confirmed = consecutive >= rules.confirm_checks
    lasting = state.in_alarm and report.ratio >= RESOLVED_BELOW
    in_alarm = confirmed or lasting
    # The start of a confirmed drift is kept: later windows lie wholly behind it and cannot see it any more.
    change_from_seq = state.change_from_seq if lasting else report.change_from_seq
    # Between the thresholds of alarm and of resolution nothing new is known about a drift.
    known = state if lasting and not report.alarm else report
    return replace(
        state,
        consecutive=consecutive,
        in_alarm=in_alarm,
        change_from_seq=change_from_seq if in_alarm or report.alarm else None,
        alarms_total=state.alarms_total + (in_alarm and not state.in_alarm),
        acknowledged_ratio=state.acknowledged_ratio if in_alarm else None,
        arms=report.arms,
        kind=known.kind,
        harmful=known.harmful,
        severity=known.severity,
    )


def _quiet(report: DriftReport, in_flight: AdaptationJob | None) -> Hindrance:
    if in_flight is not None:
        return Hindrance(DriftState.ADAPTING, _under_way(in_flight))
    if report.actionable:
        return Hindrance(DriftState.SUSPECT, "Above the threshold; waiting for the next check to confirm.")
    if report.alarm:
        reason = f"Above the threshold, but too small to act on (D {report.max_ks:.3f})."
        return Hindrance(DriftState.SUSPECT, reason)
    if not report.calibrated:
        return Hindrance(DriftState.CALIBRATING, DriftState.CALIBRATING.meaning)
    if len([share for share in report.mixture.values() if share > 0]) > 1:
        return Hindrance(DriftState.KNOWN, f"A mixture of known domains: {_shares(report)}.")
    return Hindrance(DriftState.OK, f"Looks like {report.nearest}.")


def _acknowledged(state: MonitorState) -> bool:
    """Whether the drift is still the one that an operator accepted."""
    if state.acknowledged_ratio is None or (state.harmful and not state.acknowledged_harm):
        return False
    return state.size <= ACKNOWLEDGED_GROWTH * state.acknowledged_ratio


def _shares(report: DriftReport) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in report.mixture.items() if share > 0)
