"""GET /v1/traffic and GET /v1/whoami: what the console asks beyond what programs ask."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service.deps import CallDep, ServingDep
from service.problems import declared
from trimtab.ledger.models import get_model
from trimtab.ledger.traffic import traffic

router = APIRouter()
STEPS = 60


class TrafficPoint(BaseModel):
    """Predictions of one version in one step of time."""

    at: float
    version: int
    n: int


class Traffic(BaseModel):
    """Sampled predictions by step and version; steps without any are left out."""

    model: str
    width_s: float
    rate: float = Field(description="share of the traffic that is sampled, TRIMTAB_SAMPLES__RATE")
    steps: list[TrafficPoint]


class Whoami(BaseModel):
    """What the caller's key is good for."""

    auth: str = Field(description="`keys`, or `off`: everybody may do everything")
    name: str | None
    roles: list[str]


@router.get("/v1/traffic/{model}", tags=["models"], responses=declared(404, 503))
def model_traffic(
    model: str, serving: ServingDep, minutes: Annotated[int, Query(ge=1, le=1440)] = 60
) -> Traffic:
    """What came in the last minutes and which version answered it, of all replicas, in 60 steps."""
    width_s = minutes * 60.0 / STEPS
    with serving.ledger.read() as tx:
        get_model(tx, model)
        steps = traffic(tx, model, minutes * 60.0, width_s)
    points = [TrafficPoint(at=step.at, version=step.version, n=step.n) for step in steps]
    return Traffic(model=model, width_s=width_s, rate=serving.settings.samples.rate, steps=points)


@router.get("/v1/whoami", tags=["models"])
async def whoami(serving: ServingDep, call: CallDep) -> Whoami:
    """The name and roles of the key that this call carries; none without a valid one."""
    name = call.client if call.roles else None
    return Whoami(auth=serving.settings.auth.mode, name=name, roles=sorted(map(str, call.roles)))
