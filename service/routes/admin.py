"""What an operator looks at: replicas and events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.deps import ServingDep
from service.problems import declared
from service.schemas import EventInfo, EventList, ReplicaInfo, ReplicaList
from trimtab.ledger.events import list_events
from trimtab.ledger.replicas import list_replicas

router = APIRouter(prefix="/admin/v1", tags=["operate"])


@router.get("/replicas", responses=declared(503))
def replicas(serving: ServingDep) -> ReplicaList:
    """What every replica serves, what it refused and why, and how old its report is."""
    with serving.ledger.read() as tx:
        return ReplicaList(replicas=[ReplicaInfo(**vars(row)) for row in list_replicas(tx)])


@router.get("/events", responses=declared(503))
def events(
    serving: ServingDep,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    model: str | None = None,
) -> EventList:
    """What happened, oldest first; ask again with `after` = the last `seq`."""
    with serving.ledger.read() as tx:
        return EventList(
            events=[EventInfo(**vars(event)) for event in list_events(tx, after, limit, model=model)]
        )
