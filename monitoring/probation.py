"""After a swap: does the new version keep what the gate promised? If not it is stepped back from, without a person.

The gate's promise is the version's own accuracy on labelled rows that it was not trained on, on the domain where it is
worst. Labels of its traffic are held against it by a test that may be looked at at any time; its answers by guards.
"""

import logging
import math
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from monitoring.check import Baseline
from monitoring.gauges import show_state
from monitoring.outputs import not_finite, unexplained
from monitoring.policy import after_watch
from monitoring.station import Station
from trimtab.drift import MonitorState
from trimtab.errors import NothingToRollBack, VersionRefused
from trimtab.ledger import examples, jobs, reports, samples, versions
from trimtab.ledger.arrivals import arrived
from trimtab.ledger.events import record_event
from trimtab.ledger.feedback import Outcome
from trimtab.ledger.gate_history import Window, quarantine_window
from trimtab.ledger.windows import PredictionWindow, newest_rows
from trimtab.metrics import ROLLBACKS
from trimtab.settings import DriftSettings, Settings
from trimtab.stats.promise import judge_promise, promised_bound
from trimtab.watch import Watch

log = logging.getLogger(__name__)

ACTOR = "watch"


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What the version has answered since it serves: labels as they arrived, the newest answers, how many in all."""

    outcomes: list[Outcome]
    window: PredictionWindow
    n_events: int


def attend(station: Station, state: MonitorState, baseline: Baseline) -> bool:
    """Look at the version on probation: step back when it broke its promise, keep it when its time is over.

    Returns whether another version serves now. Nothing is done when the state was changed meanwhile: the next round
    looks again.
    """
    with station.ledger.read() as tx:
        watch = judge(
            _traffic(tx, state, baseline, station.settings.drift), state, baseline, station.settings
        )
    if watch == state.watch and watch.n_events < watch.of_events:
        return False
    with station.ledger.begin() as tx:
        champion = versions.get_aliases(tx, state.model).get("champion", 0)
        if reports.load_state(tx, state.model, lock=True) != state or champion != watch.version:
            return False
        after = _ended(tx, replace(state, watch=watch), watch, station.rules.max_failures)
        reports.save_state(tx, after)
        stepped_back = versions.get_aliases(tx, state.model).get("champion", 0) != champion
    show_state(after)
    if stepped_back:
        ROLLBACKS.labels(state.model, ACTOR).inc()
        log.warning(
            "stepped back", extra={"model": state.model, "version": watch.version, "why": watch.broken}
        )
    return stepped_back


def judge(traffic: Traffic, state: MonitorState, baseline: Baseline, settings: Settings) -> Watch:
    """Where the watch stands; pure. Half of `watch_alpha` is the labels' and half the guards'."""
    policy, drift = settings.policy, settings.drift
    before = state.watch or Watch(version=state.watching_version)
    until_seq = before.until_seq or _inputs_left(state)
    counted = [each for each in traffic.outcomes if not until_seq or each.seq < until_seq]
    watch = replace(
        _labels(before, counted, baseline, policy.watch_alpha / 2, drift.max_accuracy_drop),
        until_seq=until_seq,
        n_events=traffic.n_events,
        of_events=policy.watch_events,
    )
    n_looks = traffic.n_events // drift.window
    broken = watch.broken or not_finite(baseline, traffic.window)
    if not broken and n_looks > before.n_looks and len(traffic.window) >= drift.window:
        alpha = policy.watch_alpha / 2 / math.ceil(policy.watch_events / drift.window)
        broken = unexplained(baseline, traffic.window, alpha=alpha, min_effect=drift.min_effect)
    return replace(watch, n_looks=n_looks, broken=broken)


def _traffic(tx: Connection, state: MonitorState, baseline: Baseline, drift: DriftSettings) -> Traffic:
    version, features = state.watching_version, baseline.known.n_features
    return Traffic(
        # A class that the version does not know was never promised.
        outcomes=arrived(tx, state.model, version, baseline.labels),
        window=newest_rows(
            tx, state.model, version, drift.window, features,
            until_seq=samples.last_seq(tx, state.model),
        ),
        n_events=samples.events_seen(tx, state.model, version),
    )  # fmt: skip


def _inputs_left(state: MonitorState) -> int:
    """First sample of traffic unlike what the version was accepted on, as the last check saw it; 0 where it is alike.

    What the version gets wrong there is the drift's, and the version before would hardly do better.
    """
    moved = any(arm.alarm and arm.name != "labels" for arm in state.arms)
    return (state.change_from_seq or 0) if moved else 0


def _labels(
    before: Watch, outcomes: list[Outcome], baseline: Baseline, alpha: float, tolerance: float
) -> Watch:
    wrong, n = baseline.source_risk
    if not n:
        return replace(before, n_labels=len(outcomes))
    bound = promised_bound(wrong, n, tolerance)
    test = judge_promise([not each.right for each in outcomes], bound, alpha)
    accuracy = sum(each.right for each in outcomes) / len(outcomes) if outcomes else None
    why = (
        f"{accuracy:.1%} of {len(outcomes)} labelled answers are right, at least {1 - bound:.1%} were promised"
        if test.broken
        else ""
    )
    return replace(
        before,
        n_labels=len(outcomes),
        accuracy=accuracy,
        promised=1.0 - bound,
        statistic=test.statistic,
        threshold=test.threshold,
        broken=why,
    )


def _ended(tx: Connection, state: MonitorState, watch: Watch, max_failures: int) -> MonitorState:
    """The state after what follows from the watch, written in this transaction."""
    if watch.broken:
        return _step_back(tx, state, watch, max_failures)
    if watch.n_events < watch.of_events:
        return state
    confirmed = examples.confirm_probation(tx, state.model, watch.version)
    detail = {"version": watch.version, "examples": confirmed, "labels": watch.n_labels}
    record_event(tx, "watch_ended", state.model, detail | {"accuracy": watch.accuracy}, ACTOR)
    return after_watch(state)


def _step_back(tx: Connection, state: MonitorState, watch: Watch, max_failures: int) -> MonitorState:
    """Serve the version before again; a window that it was made from leaves the memory and is learnt from no more.

    The next round takes the change in: cooldown, a new window. Where there is nothing to go back to a person must look.
    """
    reason = f"the watch found the promise broken: {watch.broken}"
    version = versions.get_version(tx, state.model, watch.version)
    try:
        versions.rollback(tx, state.model, actor=ACTOR, reason=reason)
    except (NothingToRollBack, VersionRefused) as error:
        detail = {"version": watch.version, "reason": reason, "not_rolled_back": str(error)}
        record_event(tx, "promise_broken", state.model, detail, ACTOR)
        return replace(state, watching_version=0, unhelpful=max(state.unhelpful, max_failures), detail=reason)
    if version.job_id is not None:
        learnt = version.manifest.get("training", {}).get("learnt", True)
        _quarantine(tx, state, version.job_id, watch.version, reason, learnt=learnt)
    return state


def _quarantine(
    tx: Connection, state: MonitorState, job_id: str, version: int, reason: str, *, learnt: bool
) -> None:
    """The job says what became of its version; nothing is learnt any more from the window that it was made from."""
    job = jobs.get_job(tx, job_id)
    jobs.note(tx, job_id, f"version {version} was promoted, then rolled back: {reason}")
    learnt_from = learnt and job.cause.get("kind") != "rebase"
    if learnt_from and job.window_from_seq <= state.after_seq:
        quarantine_window(
            tx,
            Window(
                model=state.model, from_seq=job.window_from_seq, to_seq=state.after_seq, reason=reason,
                version=version, job_id=job_id,
            ),
        )  # fmt: skip
