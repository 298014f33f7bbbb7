"""Trials: a version on real traffic before it serves, one a model at a time; every change of one counts the generation.

A trial that ends gives up the alias `challenger` and decides what becomes of its version. The job that made it ends in
the same transaction: call `jobs.end_trial`, which calls `end`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, insert, select, update

from trimtab.ledger import versions
from trimtab.ledger.clock import now
from trimtab.ledger.events import record_event
from trimtab.ledger.examples import remove_probation
from trimtab.ledger.models import next_generation
from trimtab.ledger.parked import park
from trimtab.ledger.samples import last_seq
from trimtab.ledger.schema import aliases, trials
from trimtab.ledger.versions import CHAMPION, VersionState
from trimtab.trial import CHALLENGER, Stage, Trial

_BECOMES = {Stage.REJECTED: VersionState.REJECTED, Stage.ABANDONED: VersionState.HELD}


def start_trial(
    tx: Connection, model: str, version: int, *, champion: int, job_id: str | None, reason: str, actor: str
) -> Trial:
    """Put a version on trial, unseen at first; raises VersionRefused when it cannot be served.

    A model has one open trial at most: sqlalchemy.exc.IntegrityError otherwise, as a job in flight rules it out.
    """
    versions.set_alias(tx, model, CHALLENGER, version, actor=actor, reason=reason)
    moment, newest = now(tx), last_seq(tx, model)
    row = {
        "model": model, "version": version, "champion": champion, "job_id": job_id, "stage": Stage.SHADOW,
        "share": 0.0, "first_seq": newest, "from_seq": newest, "started_at": moment, "stage_at": moment,
        "reason": reason, "evidence": {},
    }  # fmt: skip
    tx.execute(insert(trials).values(row))
    detail = {"version": version, "champion": champion, "job": job_id, "reason": reason}
    record_event(tx, "trial_started", model, detail, actor)
    return _required(tx, model, version)


def open_trials(tx: Connection) -> dict[str, Trial]:
    """{model: trial} of the trials that go on: what the API's replicas go by.

    One whose version is not the challenger any more, or whose champion has changed, is left out from that moment on,
    although the monitor has yet to end it.
    """
    challenger, champion = aliases.alias("challenger"), aliases.alias("champion")
    tried = and_(
        challenger.c.model == trials.c.model,
        challenger.c.alias == CHALLENGER,
        challenger.c.n == trials.c.version,
    )
    held_against = and_(
        champion.c.model == trials.c.model, champion.c.alias == CHAMPION, champion.c.n == trials.c.champion
    )
    query = _open().join(challenger, tried).join(champion, held_against)
    return {row["model"]: _trial(row) for row in tx.execute(query).mappings()}


def open_trial(tx: Connection, model: str, *, lock: bool = False) -> Trial | None:
    """The model's trial that has not ended; with `lock` nobody else changes it before this transaction ends."""
    query = _open().where(trials.c.model == model)
    row = tx.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if row is None else _trial(row)


def get_trial(tx: Connection, model: str, version: int) -> Trial | None:
    """The trial of this version, if it ever was on trial."""
    query = select(trials).where(trials.c.model == model, trials.c.version == version)
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _trial(row)


def advance(
    tx: Connection, trial: Trial, stage: Stage, share: float, *, reason: str, evidence: Mapping[str, Any]
) -> Trial:
    """The next stage, or the next share of the clients; it begins after the newest prediction."""
    values = {"stage": stage, "share": share, "reason": reason, "evidence": dict(evidence)}
    _change(tx, trial, **values, from_seq=last_seq(tx, trial.model), stage_at=now(tx))
    generation = next_generation(tx, trial.model)
    detail = {"version": trial.version, "stage": stage, "share": share, "reason": reason}
    detail |= {"evidence": dict(evidence), "generation": generation}
    record_event(tx, "trial_advanced", trial.model, detail, "trial")
    return _required(tx, trial.model, trial.version)


def observe(tx: Connection, trial: Trial, *, reason: str, evidence: Mapping[str, Any]) -> None:
    """Say what was seen, while the trial goes on as it is."""
    _change(tx, trial, reason=reason, evidence=dict(evidence))


def end(
    tx: Connection,
    trial: Trial,
    stage: Stage,
    *,
    reason: str,
    actor: str,
    evidence: Mapping[str, Any] | None = None,
) -> Trial:
    """End the trial; again is no change. Promoted: the version is champion from now on, with its memory on probation.

    Rejected: its examples on probation are deleted. Abandoned: the version is held, and they are parked: a person may
    still promote it. Raises VersionRefused when the version cannot be promoted.
    """
    before = _required(tx, trial.model, trial.version)
    if before.stage.final:
        return before
    seen = before.evidence if evidence is None else evidence
    _change(tx, trial, stage=stage, share=0.0, reason=reason, evidence=dict(seen), ended_at=now(tx))
    if stage is Stage.PROMOTED:
        versions.promote(tx, trial.model, trial.version, actor=actor, reason=reason)
    else:
        _take_out(tx, trial, _BECOMES[stage], reason)
    _give_up_alias(tx, trial, actor, reason)
    detail = {"version": trial.version, "stage": stage, "from": before.stage, "reason": reason}
    record_event(tx, "trial_ended", trial.model, detail | {"job": trial.job_id}, actor)
    return _required(tx, trial.model, trial.version)


def _take_out(tx: Connection, trial: Trial, state: VersionState, reason: str) -> None:
    leave = park if state is VersionState.HELD else remove_probation
    leave(tx, trial.model, trial.version)
    if versions.get_version(tx, trial.model, trial.version).state is not VersionState.QUARANTINED:
        versions.set_state(tx, trial.model, trial.version, state, reason)


def _give_up_alias(tx: Connection, trial: Trial, actor: str, reason: str) -> None:
    if versions.get_aliases(tx, trial.model).get(CHALLENGER) == trial.version:
        versions.drop_alias(tx, trial.model, CHALLENGER, actor=actor, reason=reason)
    else:
        next_generation(tx, trial.model)


def _open() -> Select[Any]:
    return select(trials).where(trials.c.ended_at.is_(None))


def _change(tx: Connection, trial: Trial, **values: Any) -> None:
    theirs = (trials.c.model == trial.model, trials.c.version == trial.version)
    tx.execute(update(trials).where(*theirs).values(**values))


def _required(tx: Connection, model: str, version: int) -> Trial:
    trial = get_trial(tx, model, version)
    if trial is None:
        raise ValueError(f"version {version} of {model!r} was never on trial")
    return trial


def _trial(row: RowMapping) -> Trial:
    return Trial(**{**row, "stage": Stage(row["stage"])})
