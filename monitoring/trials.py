"""A version on trial, one look a round: it goes on, becomes champion, is rejected, or the trial is broken off.

What was seen is judged outside of the write transaction; in it the trial is read again, locked, and nothing is done
when somebody changed it meanwhile. So a round that was killed leaves nothing half done, and one that is repeated finds
the same. It runs before the monitor takes in what happened: a trial's end is news of the same round.
"""

import logging

from sqlalchemy import Connection

from monitoring.check import Baseline
from monitoring.station import Station
from monitoring.trial_tests import Seen, explained_by_gate, guarded, see_canary, see_shadow
from trimtab.errors import AdapterRefused, StoreUnavailable, VersionNotFound
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs, replicas, samples, trial_answers, trials, versions
from trimtab.ledger.clock import now
from trimtab.ledger.versions import CHAMPION, PINNED, VersionState
from trimtab.ledger.windows import PredictionWindow, newest_rows
from trimtab.metrics import JOBS, TRIAL_DISAGREEMENT, TRIAL_SHARE, TRIAL_STATE, TRIALS
from trimtab.settings import TrialSettings
from trimtab.trial import CHALLENGER, Stage, Trial, TrialMode

log = logging.getLogger(__name__)

ACTOR = "trial"
ALIVE_S = 60.0  # a replica that reported since then is heeded


def attend_trial(station: Station, model: str) -> None:
    """Look at the model's trial, if there is one, and do what follows from it."""
    with station.ledger.read() as tx:
        trial = trials.open_trial(tx, model)
        digest = None if trial is None else versions.get_version(tx, model, trial.version).digest
    show_trial(model, trial)
    if trial is None:
        return
    baseline, missing = _baseline(station, trial, digest)
    with station.ledger.read() as tx:
        cannot_answer, not_loaded = _refusals(tx, trial)
        seen = _heeding(look(tx, trial, baseline, station), cannot_answer, not_loaded or missing)
    with station.ledger.begin() as tx:
        if trials.open_trial(tx, model, lock=True) != trial:
            return
        if not break_off(tx, trial, station.settings.trial):
            _follow(tx, trial, seen, station.settings.trial)
        after = trials.get_trial(tx, model, trial.version) or trial
        status = None if trial.job_id is None else jobs.get_job(tx, trial.job_id).status
    if after.stage.final:
        _say_ended(after, status)


def break_off(tx: Connection, trial: Trial, settings: TrialSettings) -> bool:
    """End a trial that something else has decided; whether it did."""
    aliases = versions.get_aliases(tx, trial.model)
    champion = aliases.get(CHAMPION)
    state = versions.get_version(tx, trial.model, trial.version).state
    stage, status, reason = Stage.ABANDONED, JobStatus.HELD, ""
    if champion == trial.version:
        stage, status, reason = Stage.PROMOTED, JobStatus.PROMOTED, "an operator promoted it during its trial"
    elif state is VersionState.QUARANTINED:
        stage, status = Stage.REJECTED, JobStatus.REJECTED
        reason = "a replica refused to serve it"
    elif champion != trial.champion:
        reason = f"the champion is no longer version {trial.champion}, which it was held against"
    elif PINNED in aliases:
        reason = f"an operator has pinned version {trial.champion}"
    elif aliases.get(CHALLENGER) != trial.version:
        status, reason = JobStatus.CANCELLED, "an operator took the alias challenger off it"
    elif settings.mode is TrialMode.OFF:
        reason = "trials were turned off (TRIMTAB_TRIAL__MODE)"
    elif now(tx) - trial.started_at > settings.max_s:
        reason = f"no conclusion within {settings.max_s:.0f} s: {trial.reason}"
    if reason:
        jobs.end_trial(tx, trial, stage, reason=reason, actor=ACTOR, status=status)
    return bool(reason)


def look(tx: Connection, trial: Trial, baseline: Baseline | None, station: Station) -> Seen:
    """What the stage has seen so far."""
    settings = station.settings.trial
    labelled = trial_answers.judged(tx, trial)
    if trial.stage is Stage.CANARY:
        n, elapsed_s = trial_answers.n_answers(tx, trial), now(tx) - trial.stage_at
        seen = see_canary(n, labelled, elapsed_s=elapsed_s, settings=settings)
        if baseline is None:
            return seen
        return guarded(seen, _newest(tx, trial, baseline, station), baseline, station.settings)
    verdict = None if trial.job_id is None else jobs.get_job(tx, trial.job_id).verdict
    return see_shadow(
        trial_answers.answer_pairs(tx, trial),
        labelled,
        expected=explained_by_gate(verdict),
        baseline=baseline,
        settings=settings,
    )


def show_trial(model: str, trial: Trial | None) -> None:
    """Gauges of a model's trial; 0 everywhere without one."""
    for each in (Stage.SHADOW, Stage.CANARY):
        TRIAL_STATE.labels(model, each.value).set(trial is not None and trial.stage is each)
    TRIAL_SHARE.labels(model).set(0.0 if trial is None else trial.share)
    disagreement = None if trial is None else trial.evidence.get("disagreement")
    TRIAL_DISAGREEMENT.labels(model).set(disagreement or 0.0)


def _follow(tx: Connection, trial: Trial, seen: Seen, settings: TrialSettings) -> None:
    """Write down what follows from what was seen."""
    evidence = {**trial.evidence, **seen.evidence}
    if seen.broken:
        jobs.end_trial(tx, trial, Stage.REJECTED, reason=seen.broken, actor=ACTOR, evidence=evidence)
    elif not seen.done:
        if evidence != trial.evidence:
            trials.observe(tx, trial, reason=_progress(trial, seen), evidence=evidence)
    elif share := next_share(trial, settings):
        reason = f"{_progress(trial, seen)}: it held"
        trials.advance(tx, trial, Stage.CANARY, share, reason=reason, evidence=evidence)
    else:
        reason = f"its trial was passed: {_progress(trial, seen)}"
        jobs.end_trial(tx, trial, Stage.PROMOTED, reason=reason, actor=ACTOR, evidence=evidence)


def next_share(trial: Trial, settings: TrialSettings) -> float:
    """The share of the clients in the stage after this one; 0: there is none."""
    if settings.mode is not TrialMode.CANARY:
        return 0.0
    return min((share for share in settings.canary_shares if share > trial.share), default=0.0)


def _progress(trial: Trial, seen: Seen) -> str:
    n, of, labels = (seen.evidence[name] for name in ("n", "of", "n_labels"))
    where = "unseen" if trial.stage is Stage.SHADOW else f"for {trial.share:.0%} of the clients"
    return f"{n} of {of} answers {where}, {labels} of them labelled"


def _newest(tx: Connection, trial: Trial, baseline: Baseline, station: Station) -> PredictionWindow:
    """The newest answers of the stage, a short window of them at most."""
    return newest_rows(
        tx, trial.model, trial.version, station.settings.drift.window, baseline.known.n_features,
        after_seq=trial.from_seq, until_seq=samples.last_seq(tx, trial.model),
    )  # fmt: skip


def _refusals(tx: Connection, trial: Trial) -> tuple[str, str]:
    """Why the version cannot answer where it is loaded, and why it is not loaded elsewhere; each empty if it is."""
    cannot_answer = not_loaded = ""
    for row in replicas.list_replicas(tx):
        reason = row.refused.get(trial.model, {}).get(str(trial.version), "")
        if not reason or row.age_s > ALIVE_S:
            continue
        told = f"replica {row.replica}: {reason}"
        if str(trial.version) in row.serving.get(trial.model, {}).get("versions", {}):
            cannot_answer = cannot_answer or told
        else:
            not_loaded = not_loaded or told
    return cannot_answer, not_loaded


def _heeding(seen: Seen, cannot_answer: str, not_loaded: str) -> Seen:
    """One that fails is rejected; one that is not loaded everywhere goes no further until it is."""
    evidence = {**seen.evidence, "not_loaded": not_loaded}
    return Seen(evidence=evidence, broken=seen.broken or cannot_answer, done=seen.done and not not_loaded)


def _baseline(station: Station, trial: Trial, digest: str | None) -> tuple[Baseline | None, str]:
    """Of the version on trial, None where it has no usable reference; and why it cannot be had now, or empty."""
    if digest is None:
        return None, "it has no files"
    try:
        return station.baselines.of(trial.version, digest), ""
    except (StoreUnavailable, VersionNotFound) as error:
        return None, str(error)
    except AdapterRefused as error:
        log.warning("no reference of a version on trial", extra={"model": trial.model, "error": str(error)})
        return None, ""


def _say_ended(trial: Trial, status: JobStatus | None) -> None:
    TRIALS.labels(trial.model, trial.stage.value).inc()
    if status is not None:
        JOBS.labels(trial.model, status.value).inc()
    show_trial(trial.model, None)
    detail = {"model": trial.model, "version": trial.version, "why": trial.reason}
    log.info("trial ended: %s", trial.stage.value, extra=detail)
