"""One model in one round: what happened to it since the last one, its new samples, and the looks that are due."""

import logging
from dataclasses import replace

from sqlalchemy import Connection

from monitoring.check import Baseline
from monitoring.chores import withdraw_job
from monitoring.detectors import Following
from monitoring.gauges import show_ready, show_state
from monitoring.look import look
from monitoring.policy import Change, after_change, after_job, enter, settle
from monitoring.probation import attend
from monitoring.station import Station
from trimtab.drift import DriftState, MonitorState
from trimtab.errors import AdapterRefused, StoreUnavailable, VersionNotFound
from trimtab.ledger import examples, jobs, models, reports, samples, versions
from trimtab.ledger.clock import now
from trimtab.ledger.versions import VersionState
from trimtab.ledger.windows import PredictionWindow, rows_after

log = logging.getLogger(__name__)

CHUNK = 20  # blocks read at once
STEPS = 50  # a round: a backlog leaves time for other models and for the lease


def watch_model(station: Station, model: str) -> None:
    """Take in what happened to the model since the last round, and its new samples with the looks that are due."""
    with station.ledger.begin() as tx:
        before = reports.load_state(tx, model)
        state = catch_up(tx, before or MonitorState(model=model, since=now(tx)), station)
        if state != before:
            reports.save_state(tx, state)
        digest = versions.get_version(tx, model, state.version).digest if state.version else None
    show_state(state)
    baseline = None if digest is None else _baseline(station, state, digest)
    show_ready(model, ready=baseline is not None and baseline.calibrated)
    if baseline is None or (state.watching_version and attend(station, state, baseline)):
        return
    for _ in range(STEPS):
        if not take_step(station, model, baseline):
            return


def catch_up(tx: Connection, state: MonitorState, station: Station) -> MonitorState:
    """The state after what happened since the last round: ended jobs, another champion."""
    moment, rules = now(tx), station.rules
    newest = jobs.list_jobs(tx, model=state.model, limit=1)
    if newest:
        state = after_job(state, newest[0], now=moment, rules=rules)
    champion = versions.get_aliases(tx, state.model).get("champion", 0)
    if champion != state.version and not state.version:
        state = replace(state, version=champion)
    elif champion != state.version:
        change = _how(tx, state, champion)
        if change is Change.STEPPED_BACK:
            withdraw_job(tx, state.model)
        last_seq = samples.last_seq(tx, state.model)
        state = after_change(state, change, version=champion, last_seq=last_seq, now=moment, rules=rules)
    state = replace(
        state,
        generation=models.get_model(tx, state.model).generation,
        events_seen=samples.events_seen(tx, state.model),
    )
    return settle(state, now=moment, in_flight=jobs.in_flight(tx, state.model), rules=rules)


def take_step(station: Station, model: str, baseline: Baseline) -> bool:
    """Take samples up to the next look that is due, or all there are, and save what follows from them.

    State, report and job are saved together, and only if nobody changed the state meanwhile (an operator may): else
    the samples are taken again. A look that is repeated after a crash finds the same.

    Returns:
        False when there was nothing to take and nothing to look at, or what was seen was not kept.
    """
    with station.ledger.read() as tx:
        state = reports.load_state(tx, model)
        if state is None or state.version != baseline.version:
            return False
        following = station.detectors.of(tx, state, baseline)
        n_events = CHUNK * station.detectors.windows.block
        rows = rows_after(tx, model, state.version, following.at_seq, n_events, baseline.known.n_features)
        moment = now(tx)
    due_s = station.settings.drift.check_every_s
    seen_until = _take(following, rows, state, moment, due_s, station.detectors.windows.block)
    if not seen_until and following.at_seq <= state.checked_seq:
        return False
    consumed = replace(state, consumed_seq=following.at_seq, log_m=following.log_m)
    if following.detector.full and _due(state, moment, seen_until, due_s):
        event_at = max(seen_until, state.checked_event_at)
        return look(station, state, replace(consumed, checked_event_at=event_at), following, baseline)
    if not seen_until:
        return False
    with station.ledger.begin() as tx:
        if reports.load_state(tx, model, lock=True) == state:
            reports.save_state(tx, consumed)
    return True


def _take(
    following: Following, rows: PredictionWindow, state: MonitorState, moment: float, due_s: float, block: int
) -> float:
    """Take complete blocks until a look is due; returns the newest time seen in them, 0 when there was no block."""
    seen_until = 0.0
    for start in range(0, len(rows) - block + 1, block):
        part = rows.cut(start, start + block)
        following.take(part)
        seen_until = max(seen_until, float(part.observed_at.max()))
        if following.detector.full and _due(state, moment, seen_until, due_s):
            break
    return seen_until


def _due(state: MonitorState, moment: float, seen_until: float, due_s: float) -> bool:
    """Whether `due_s` passed since the last look, for the samples or for us.

    By the samples' own time a monitor that was stopped makes the looks that it missed; a replica whose clock is wrong
    cannot stop the looks, for ours counts as well.
    """
    return max(moment - state.checked_at, seen_until - state.checked_event_at) >= due_s


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


def _how(tx: Connection, state: MonitorState, champion: int) -> Change:
    """Why `champion` serves instead of the version of the state; one on probation is watched, whoever promoted it."""
    if not champion:
        return Change.STEPPED_BACK
    old = versions.get_version(tx, state.model, state.version)
    if old.state in {VersionState.ROLLED_BACK, VersionState.QUARANTINED}:
        return Change.STEPPED_BACK
    new = versions.get_version(tx, state.model, champion)
    just_made = new.job_id is not None and new.job_id == state.last_job_id
    on_probation = examples.on_probation(tx, state.model, champion)
    return Change.ADAPTED if just_made or on_probation else Change.OPERATED
