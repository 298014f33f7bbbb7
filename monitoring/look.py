"""One look at a model: the detector's reading becomes a finding, a report, a decision, and perhaps a job."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from monitoring.calibration import ARMS
from monitoring.check import Baseline, Finding, change_index, judge_reading, most_drifted, shares
from monitoring.dependence import lag_one, noise
from monitoring.detectors import Following
from monitoring.evidence import (
    Meaning,
    changed_rows,
    concept_start,
    estimated_harm,
    labels_so_far,
    meaning_of,
    worth_acting_on,
)
from monitoring.gauges import show_report, show_state
from monitoring.policy import Decision, decide
from monitoring.reverting import open_if_back
from monitoring.station import Station
from trimtab.drift import DriftReport, LabelledRisk, MonitorState, report_id
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.labels import labels_missing
from trimtab.ledger import feedback, jobs, reports, samples, versions
from trimtab.ledger.clock import now
from trimtab.ledger.feedback import Outcome
from trimtab.ledger.windows import PredictionWindow, newest_rows
from trimtab.settings import DriftSettings, Settings

log = logging.getLogger(__name__)

NEWEST_LABELS = 2000  # behind the test on labelled traffic: older ones would only keep an alarm alive
FEWEST = 50  # samples that an explanation needs; fewer are left only where they were deleted
DEPENDENT = 0.05  # lag-one rank autocorrelation above which thresholds for independent events do not hold


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look found, before anything is decided.

    Attributes:
        finding: The statistics against their thresholds.
        labelled: The test on labelled traffic, where there are labels.
        meaning: Harm, and with an alarm kind and reasons.
        change_seq: First sample after the change, at the first look of an alarm.
        dependence: See `DriftReport`.
        events_seen: Samples of the model up to this look, all versions.
    """

    finding: Finding
    labelled: LabelledRisk | None
    meaning: Meaning
    change_seq: int | None
    dependence: float
    events_seen: int


def look(
    station: Station, before: MonitorState, state: MonitorState, following: Following, baseline: Baseline
) -> bool:
    """Look, report, decide, and open a job if that is what follows; False when nothing was kept.

    It is kept only if the state is still `before`, and if no job ended and no other version came to serve meanwhile.

    Args:
        station: All that a round needs.
        before: The state that the ledger holds.
        state: The same with the samples taken since.
        following: The detector; its short window is full.
        baseline: Of the version that it follows.
    """
    with station.ledger.read() as tx:
        seen = _see(tx, station, state, following, baseline)
    with station.ledger.begin() as tx:
        if reports.load_state(tx, state.model, lock=True) != before or _overtaken(tx, state):
            return False
        report = _report(state, following, seen, baseline, now(tx), station.settings.drift)
        in_flight = jobs.in_flight(tx, state.model)
        decision = decide(state, report, now=report.created_at, in_flight=in_flight, rules=station.rules)
        job = _open_job(tx, report, decision, station.settings) if decision.job_from_seq is not None else None
        job = job or open_if_back(
            tx, decision.state, report, following.detector.rows, baseline, station.rules
        )
        report = _told(report, decision, seen.meaning, job)
        checked = _checked(decision, report, baseline, _warning(seen, following, baseline))
        reports.save_report(tx, report)
        reports.save_state(tx, checked)
    show_report(report, raised=decision.raised)
    show_state(checked)
    if decision.raised:
        log.warning("drift", extra={"model": report.model, "report": report.id, "job": report.job_id})
    if job is not None and job.status is JobStatus.QUEUED:
        station.nudger.nudge(job.id)
    return True


def _overtaken(tx: Connection, state: MonitorState) -> bool:
    """Whether a worker ended a job or an operator changed the champion since the state was caught up with them.

    Else a job would be opened without the cooldown, for a version that no longer serves.
    """
    newest = jobs.list_jobs(tx, model=state.model, limit=1)
    ended = bool(newest) and newest[0].status.final and newest[0].id != state.last_job_id
    return ended or versions.get_aliases(tx, state.model).get("champion", 0) != state.version


def _see(
    tx: Connection, station: Station, state: MonitorState, following: Following, baseline: Baseline
) -> Seen:
    drift, windows, detector = station.settings.drift, station.detectors.windows, following.detector
    outcomes = feedback.outcomes(tx, state.model, state.version, NEWEST_LABELS, state.after_seq)
    run_length = _labels_per_alarm(tx, station, state)
    labelled = labels_so_far(baseline, outcomes, tolerance=drift.max_accuracy_drop, run_length=run_length)
    finding = judge_reading(baseline, detector.read(), (windows.short, windows.long), labelled)
    rows, n_changed, change_seq = detector.rows, finding.n_window, None
    if finding.alarm:
        traffic = _traffic(tx, state, windows.long, baseline)
        change_seq = None if state.in_alarm else _change_seq(baseline, finding, traffic, outcomes, drift)
        n_changed = int((traffic.seqs >= (change_seq or state.change_from_seq or 0)).sum())
    harm = estimated_harm(baseline, finding, changed_rows(rows, n_changed, finding.n_window))
    meaning = Meaning(harm=harm)
    if finding.alarm:
        window = traffic.cut(max(len(traffic) - finding.n_window, 0), len(traffic))
        if len(window) >= FEWEST:
            meaning = meaning_of(baseline, finding, harm, labelled, window, drift)
    return Seen(
        finding=finding,
        labelled=labelled,
        meaning=meaning,
        change_seq=change_seq,
        dependence=lag_one(rows),
        events_seen=state.events_seen - samples.events_seen(tx, state.model, after_seq=following.at_seq),
    )


def _labels_per_alarm(tx: Connection, station: Station, state: MonitorState) -> float:
    """Labels between two false alarms of the labels arm: as many as there can be events between so many looks."""
    events = samples.events_seen(tx, state.model, state.version) / max(state.checks, 1)
    events_a_look = max(events, station.settings.drift.check_every)
    return len(ARMS) * station.baselines.checks * events_a_look


def _traffic(tx: Connection, state: MonitorState, n: int, baseline: Baseline) -> PredictionWindow:
    """The samples of the long window, as far as retention and deletion left them."""
    return newest_rows(
        tx,
        state.model,
        state.version,
        n,
        baseline.known.n_features,
        after_seq=state.after_seq,
        until_seq=state.consumed_seq,
    )


def _change_seq(
    baseline: Baseline,
    finding: Finding,
    traffic: PredictionWindow,
    outcomes: Sequence[Outcome],
    drift: DriftSettings,
) -> int | None:
    """First sample after the change; where only labels tell, the first that belongs to their evidence."""
    if [arm.name for arm in finding.arms if arm.alarm] == ["labels"]:
        return concept_start(baseline, outcomes, drift.max_accuracy_drop)
    if len(traffic) < FEWEST:
        return None
    return int(traffic.seqs[change_index(baseline.known, traffic.features, drift.window)])


def _report(
    state: MonitorState,
    following: Following,
    seen: Seen,
    baseline: Baseline,
    created_at: float,
    drift: DriftSettings,
) -> DriftReport:
    finding, meaning = seen.finding, seen.meaning
    judgement, evidence = meaning.judgement, meaning.explanation
    return DriftReport(
        id=report_id(state.model, state.version, following.at_seq),
        model=state.model,
        version=state.version,
        created_at=created_at,
        first_seq=following.first_seq(finding.n_window // drift.check_every),
        last_seq=following.at_seq,
        n_window=finding.n_window,
        events_seen=seen.events_seen,
        state=state.state,
        arms=finding.arms,
        features=most_drifted(baseline, finding.look),
        max_ks=finding.max_ks,
        alarm=finding.alarm,
        actionable=worth_acting_on(finding, meaning, drift.min_effect),
        calibrated=baseline.calibrated,
        nearest=finding.look.hypothesis.name,
        mixture=shares(baseline.known, finding.look.hypothesis.weights),
        change_from_seq=seen.change_seq,
        kind=judgement.kind if judgement else None,
        harmful=judgement.harmful if judgement else False,
        severity=judgement.severity if judgement else 0,
        harm=meaning.harm,
        labelled=seen.labelled,
        label_shift=meaning.label_shift,
        evidence=evidence,
        anchor_ks=finding.anchor_ks,
        dependence=seen.dependence,
        extrapolation=baseline.extrapolation,
    )


def _open_job(tx: Connection, report: DriftReport, decision: Decision, settings: Settings) -> AdaptationJob:
    """Queued if its labels are there, else waiting for them until the deadline."""
    from_seq = report.first_seq if decision.job_from_seq is None else decision.job_from_seq
    cause = {"kind": "drift", "report": report.id, "drift": report.kind}
    missing = labels_missing(tx, report.model, from_seq, settings.training, cause)
    return jobs.open_job(
        tx,
        report.model,
        cause=cause | {"max_ks": report.max_ks, "ratio": report.ratio},
        domain="",
        window_from_seq=from_seq,
        status=JobStatus.WAITING_FOR_LABELS if missing else JobStatus.QUEUED,
        missing=missing or None,
        deadline_at=now(tx) + settings.policy.label_deadline_s if missing else None,
    )


def _told(
    report: DriftReport, decision: Decision, meaning: Meaning, job: AdaptationJob | None
) -> DriftReport:
    """The report with what followed from it."""
    words = meaning.judgement.words if meaning.judgement else ""
    return replace(
        report,
        state=decision.state.state,
        change_from_seq=decision.state.change_from_seq,
        explanation=f"{words} {decision.reason}".strip(),
        job_id=job.id if job else None,
    )


def _checked(decision: Decision, report: DriftReport, baseline: Baseline, warning: str) -> MonitorState:
    return replace(
        decision.state,
        detail=f"{decision.reason} {warning}".strip(),
        checked_seq=report.last_seq,
        checked_at=report.created_at,
        checks=decision.state.checks + 1,
        reference_domains=baseline.known.names,
    )


def _warning(seen: Seen, following: Following, baseline: Baseline) -> str:
    """Whether the traffic depends on itself in a way that the reference could not tell the calibration about."""
    by_chance = noise(following.detector.n_events, baseline.known.n_features)
    # A change inside the window makes neighbours alike, too: then nothing can be said.
    if baseline.ordered or seen.finding.alarm or seen.dependence <= max(DEPENDENT, by_chance):
        return ""
    return (
        f"Neighbouring events resemble each other (autocorrelation {seen.dependence:.2f}) and the reference has no "
        "order: false alarms may exceed the budget. Give the data file timestamps, then thresholds allow for it."
    )
