"""One model in one round: what happened to it since the last one, and a check of its window if one is due."""

import logging
from dataclasses import replace

from sqlalchemy import Connection

from monitoring.check import Baseline, Finding, change_index, check_window
from monitoring.chores import end_watch, labels_missing
from monitoring.gauges import show_accuracy, show_report, show_state
from monitoring.policy import Change, Decision, after_change, after_job, decide, enter, settle
from monitoring.station import Station
from trimtab.drift import DriftReport, DriftState, MonitorState, report_id, severity_of
from trimtab.errors import AdapterRefused, StoreUnavailable, VersionNotFound
from trimtab.jobs import AdaptationJob, JobStatus
from trimtab.ledger import feedback, jobs, models, reports, samples, versions
from trimtab.ledger.clock import now
from trimtab.ledger.samples import PredictionWindow
from trimtab.ledger.versions import VersionState
from trimtab.settings import Settings

log = logging.getLogger(__name__)

LOOKBACK_WINDOWS = 3  # the start of a change is looked for in this many windows
ACCURACY_OVER = 500  # labelled predictions behind the accuracy gauge


def watch_model(station: Station, model: str) -> None:
    """Take in what happened to the model since the last round, and check its window if a check is due."""
    with station.ledger.begin() as tx:
        before = reports.load_state(tx, model)
        state = catch_up(tx, before or MonitorState(model=model, since=now(tx)), station)
        if state != before:
            reports.save_state(tx, state)
        digest = versions.get_version(tx, model, state.version).digest if state.version else None
        due = _is_due(tx, state, station.settings)
    show_state(state)
    if digest is None:
        return
    baseline = _baseline(station, state, digest)
    if baseline is not None and due:
        check_model(station, state, baseline)


def catch_up(tx: Connection, state: MonitorState, station: Station) -> MonitorState:
    """The state after what happened since the last round: ended jobs, another champion, the end of a watch."""
    moment, rules = now(tx), station.rules
    newest = jobs.list_jobs(tx, model=state.model, limit=1)
    if newest:
        state = after_job(state, newest[0], now=moment, rules=rules)
    champion = versions.get_aliases(tx, state.model).get("champion", 0)
    if champion != state.version and not state.version:
        state = replace(state, version=champion)
    elif champion != state.version:
        change = _how(tx, state, champion)
        last_seq = samples.last_seq(tx, state.model)
        state = after_change(state, change, version=champion, last_seq=last_seq, now=moment, rules=rules)
    state = replace(
        state,
        generation=models.get_model(tx, state.model).generation,
        events_seen=samples.events_seen(tx, state.model),
    )
    state = end_watch(tx, state, station.settings.policy.watch_events)
    return settle(state, now=moment, in_flight=jobs.in_flight(tx, state.model), rules=rules)


def check_model(station: Station, state: MonitorState, baseline: Baseline) -> None:
    """Check the newest window; report, decide, and open a job if that is what follows."""
    drift = station.settings.drift
    with station.ledger.read() as tx:
        window = samples.window(tx, state.model, state.version, drift.window, state.after_seq)
        if len(window) < drift.window:
            return
        finding = check_window(baseline, window.features, drift.min_effect)
        change_seq = None
        if finding.alarm and not state.in_alarm:
            change_seq = _change_seq(tx, state, baseline, drift.window)
    with station.ledger.begin() as tx:
        report = _report(state, window, finding, change_seq, now(tx))
        decision = decide(
            state,
            report,
            now=report.created_at,
            in_flight=jobs.in_flight(tx, state.model),
            rules=station.rules,
        )
        job = _open_job(tx, report, decision, station.settings) if decision.job_from_seq is not None else None
        checked = replace(
            decision.state,
            checked_seq=report.last_seq,
            checked_at=report.created_at,
            reference_domains=baseline.known.names,
        )
        _keep(tx, report, decision, checked, job)
        accuracy = feedback.labelled_accuracy(tx, state.model, state.version, ACCURACY_OVER)
    show_report(report, raised=decision.raised)
    show_state(checked)
    show_accuracy(state.model, state.version, *accuracy)
    if job is not None and job.status is JobStatus.QUEUED:
        station.nudger.nudge(job.id)


def _baseline(station: Station, state: MonitorState, digest: str) -> Baseline | None:
    """The champion's baseline; None, with the reason in the state, when it cannot be had."""
    try:
        return station.baselines.of(state.version, digest)
    except (AdapterRefused, StoreUnavailable, VersionNotFound) as error:
        detail = f"No reference of version {state.version}: {error}"
        if state.detail != detail:
            log.error(
                "no reference", extra={"model": state.model, "version": state.version, "error": str(error)}
            )
            with station.ledger.begin() as tx:
                reports.save_state(tx, enter(state, DriftState.COLLECTING, now=now(tx), detail=detail))
        return None


def _is_due(tx: Connection, state: MonitorState, settings: Settings) -> bool:
    """A check needs a full window, `check_every` new events and `check_every_s` seconds since the last one."""
    drift = settings.drift
    if not state.version or now(tx) - state.checked_at < drift.check_every_s:
        return False
    since_check = samples.events_seen(tx, state.model, state.version, state.checked_seq)
    in_window = samples.events_seen(tx, state.model, state.version, state.after_seq)
    return since_check >= drift.check_every and in_window >= drift.window


def _how(tx: Connection, state: MonitorState, champion: int) -> Change:
    """Why `champion` serves instead of the version of the state."""
    if not champion:
        return Change.STEPPED_BACK
    old = versions.get_version(tx, state.model, state.version)
    if old.state in {VersionState.ROLLED_BACK, VersionState.QUARANTINED}:
        return Change.STEPPED_BACK
    new = versions.get_version(tx, state.model, champion)
    return Change.ADAPTED if new.job_id is not None and new.job_id == state.last_job_id else Change.OPERATED


def _change_seq(tx: Connection, state: MonitorState, baseline: Baseline, window: int) -> int:
    """Sequence number of the first sample after the change."""
    back = samples.window(tx, state.model, state.version, LOOKBACK_WINDOWS * window, state.after_seq)
    return int(back.seqs[change_index(baseline, back.features, window)])


def _report(
    state: MonitorState, window: PredictionWindow, finding: Finding, change_seq: int | None, created_at: float
) -> DriftReport:
    last_seq = int(window.seqs[-1])
    return DriftReport(
        id=report_id(state.model, state.version, last_seq),
        model=state.model,
        version=state.version,
        created_at=created_at,
        first_seq=int(window.seqs[0]),
        last_seq=last_seq,
        n_window=len(window),
        events_seen=state.events_seen,
        state=state.state,
        arms=finding.arms,
        features=finding.features,
        max_ks=finding.max_ks,
        alarm=finding.alarm,
        actionable=finding.actionable,
        calibrated=finding.calibrated,
        nearest=finding.nearest,
        mixture=finding.mixture,
        change_from_seq=change_seq,
        severity=severity_of(finding.max_ks, actionable=finding.actionable),
    )


def _open_job(tx: Connection, report: DriftReport, decision: Decision, settings: Settings) -> AdaptationJob:
    """Queued if its labels are there, else waiting for them until the deadline."""
    from_seq = report.first_seq if decision.job_from_seq is None else decision.job_from_seq
    missing = labels_missing(tx, report.model, from_seq, settings.training)
    return jobs.open_job(
        tx,
        report.model,
        cause={"kind": "drift", "report": report.id, "max_ks": report.max_ks, "ratio": report.ratio},
        domain="",
        window_from_seq=from_seq,
        status=JobStatus.WAITING_FOR_LABELS if missing else JobStatus.QUEUED,
        missing=missing or None,
        deadline_at=now(tx) + settings.policy.label_deadline_s if missing else None,
    )


def _keep(
    tx: Connection, report: DriftReport, decision: Decision, state: MonitorState, job: AdaptationJob | None
) -> None:
    """Report, state and job are kept in one transaction: none is there without the others."""
    told = replace(
        report,
        state=state.state,
        change_from_seq=state.change_from_seq,
        explanation=decision.reason,
        job_id=job.id if job else None,
    )
    reports.save_report(tx, told)
    reports.save_state(tx, state)
    if decision.raised:
        log.warning(
            "drift",
            extra={"model": report.model, "report": report.id, "ratio": report.ratio, "job": told.job_id},
        )
