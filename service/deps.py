"""What a running API holds, and how routes ask for it. Names each dependency once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

import redis
from fastapi import Depends, Request

from service.adapting import Nudge
from service.calls import Call, call_of
from service.engine import Engine
from service.follow import Follower
from service.routing import Routing
from service.sampling import Sampler
from trimtab.ledger import Ledger
from trimtab.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Everything that one lifespan opened."""

    settings: Settings
    ledger: Ledger
    redis: redis.Redis
    routing: Routing
    follower: Follower
    engine: Engine
    sampler: Sampler
    nudge: Nudge


def get_serving(request: Request) -> Serving:
    """The open parts of this app."""
    return cast(Serving, request.app.state.serving)


def get_call(request: Request) -> Call:
    """The call as the edge knows it."""
    return call_of(request.scope)


ServingDep = Annotated[Serving, Depends(get_serving)]
CallDep = Annotated[Call, Depends(get_call)]
