"""Versions and aliases of a model: look, point, step back. Writes name the generation that they were decided on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy import Connection
from starlette.exceptions import HTTPException

from service.deps import CallDep, Serving, ServingDep
from service.hints import send_hint
from service.problems import declared
from service.schemas import AliasOrder, Generation, RollbackOrder
from service.version_schemas import TrialInfo, VersionInfo, VersionList
from trimtab import metrics
from trimtab.errors import InvalidInput
from trimtab.ledger import models, trials, versions
from trimtab.ledger.versions import Version
from trimtab.trial import Trial

router = APIRouter(prefix="/admin/v1/models/{model}", tags=["operate"])
IfMatch = Annotated[str | None, Header(alias="If-Match", description="the generation you decided on")]
ALIASES = ("champion", "challenger", "previous", "baseline", "pinned")


@router.get("/versions", responses=declared(404, 503))
def list_versions(model: str, serving: ServingDep, response: Response) -> VersionList:
    """Every version with its state and why; the ETag is the generation."""
    with serving.ledger.read() as tx:
        row = models.get_model(tx, model)
        aliases = versions.get_aliases(tx, model)
        found = versions.list_versions(tx, model)
        trial = trials.open_trials(tx).get(model)
    response.headers["ETag"] = f'"{row.generation}"'
    return VersionList(
        model=model,
        generation=row.generation,
        aliases=aliases,
        versions=[_info(version, aliases, whole=False) for version in found],
        trial=_trial_info(trial),
    )


@router.get("/versions/{version}", responses=declared(404, 503))
def get_version(model: str, version: int, serving: ServingDep) -> VersionInfo:
    """Why this version exists: its manifest, what the gate found, and how it was tried."""
    with serving.ledger.read() as tx:
        row, aliases = versions.get_version(tx, model, version), versions.get_aliases(tx, model)
        return _info(row, aliases, whole=True, trial=trials.get_trial(tx, model, version))


@router.put("/aliases/{alias}", responses=declared(400, 404, 409, 412, 428, 503))
def set_alias(
    model: str, alias: str, order: AliasOrder, serving: ServingDep, call: CallDep, if_match: IfMatch = None
) -> Generation:
    """Point an alias at a version (`champion`: promote it), unless somebody else changed something meanwhile."""
    expected = _generation(if_match)
    if expected is None:
        raise HTTPException(428, "send If-Match with the generation that you decided on (GET .../versions)")
    if alias not in ALIASES:
        raise InvalidInput(f"alias: one of {', '.join(ALIASES)}")
    with serving.ledger.begin() as tx:
        versions.set_alias(
            tx,
            model,
            alias,
            order.version,
            actor=call.client,
            reason=order.reason,
            expected_generation=expected,
            force=order.force,
        )
        present = _present(tx, model)
    announce(serving, model)
    return present


@router.delete("/aliases/{alias}", responses=declared(404, 409, 503))
def drop_alias(
    model: str,
    alias: str,
    serving: ServingDep,
    call: CallDep,
    reason: Annotated[str, Query(max_length=500)] = "",
) -> Generation:
    """Remove an alias that is not the champion (`pinned`: what passes the gate is promoted again)."""
    with serving.ledger.begin() as tx:
        versions.drop_alias(tx, model, alias, actor=call.client, reason=reason)
        present = _present(tx, model)
    announce(serving, model)
    return present


@router.post("/rollback", responses=declared(400, 404, 409, 412, 503))
def roll_back(
    model: str,
    serving: ServingDep,
    call: CallDep,
    order: RollbackOrder | None = None,
    if_match: IfMatch = None,
) -> Generation:
    """Step back to the previous champion, which is still loaded; `If-Match` is optional here: haste is the point."""
    order = order or RollbackOrder(to=None, reason="")
    with serving.ledger.begin() as tx:
        versions.rollback(
            tx,
            model,
            actor=call.client,
            reason=order.reason,
            to=order.to,
            expected_generation=_generation(if_match),
        )
        present = _present(tx, model)
    metrics.ROLLBACKS.labels(model, "operator").inc()
    announce(serving, model)
    return present


def announce(serving: Serving, model: str) -> None:
    """Something else should be served: this replica looks at once, the others are hinted."""
    serving.follower.wake.set()
    send_hint(serving.redis, model)


def _generation(if_match: str | None) -> int | None:
    """The generation in an If-Match header; None without one. Raises 400 when it is no generation."""
    if if_match is None:
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise HTTPException(400, 'If-Match: a generation, such as "7"')
    return int(text)


def _present(tx: Connection, model: str) -> Generation:
    generation = models.get_model(tx, model).generation
    return Generation(model=model, generation=generation, aliases=versions.get_aliases(tx, model))


def _info(
    version: Version, aliases: dict[str, int], *, whole: bool, trial: Trial | None = None
) -> VersionInfo:
    return VersionInfo(
        model=version.model,
        version=version.n,
        state=version.state,
        reason=version.reason,
        digest=version.digest,
        parent=version.parent,
        job_id=version.job_id,
        created_at=version.created_at,
        aliases=sorted(alias for alias, n in aliases.items() if n == version.n),
        gate=version.gate,
        manifest=version.manifest if whole else None,
        trial=_trial_info(trial),
    )


def _trial_info(trial: Trial | None) -> TrialInfo | None:
    if trial is None:
        return None
    return TrialInfo(
        version=trial.version,
        champion=trial.champion,
        job_id=trial.job_id,
        stage=trial.stage,
        meaning=trial.stage.meaning,
        share=trial.share,
        started_at=trial.started_at,
        stage_at=trial.stage_at,
        ended_at=trial.ended_at,
        reason=trial.reason,
        evidence=dict(trial.evidence),
    )
