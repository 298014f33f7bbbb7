"""What an operator looks at: replicas and events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from service.deps import Serving, ServingDep
from service.event_stream import MEDIA_TYPE, stream_events
from service.problems import declared
from service.schemas import EventInfo, EventList, ReplicaInfo, ReplicaList
from trimtab.ledger.events import list_events, newest_events
from trimtab.ledger.replicas import list_replicas

router = APIRouter(prefix="/admin/v1", tags=["operate"])
_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventQuery(BaseModel):
    """Which events."""

    after: int = Field(0, ge=0, lt=2**63)
    before: int | None = Field(None, ge=0, lt=2**63, description="with `order=newest`: the page that follows")
    limit: int = Field(100, ge=1, le=1000)
    model: str | None = None
    order: Literal["oldest", "newest"] = "oldest"


@router.get("/replicas", responses=declared(503))
def replicas(serving: ServingDep) -> ReplicaList:
    """What every replica serves, what it refused and why, and how old its report is."""
    with serving.ledger.read() as tx:
        return ReplicaList(replicas=[ReplicaInfo(**vars(row)) for row in list_replicas(tx)])


@router.get(
    "/events",
    response_model=EventList,
    responses={**declared(503), 200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}},
)
async def events(
    request: Request,
    serving: ServingDep,
    asked: Annotated[EventQuery, Query()],
    last_event_id: Annotated[str | None, Header(max_length=32)] = None,
) -> EventList | StreamingResponse:
    """What happened, oldest first; ask again with `after` = the last `seq`.

    `Accept: text/event-stream` keeps telling: from `Last-Event-ID` (or `after`) on, else from now on.
    """
    if MEDIA_TYPE not in request.headers.get("accept", ""):
        return await run_in_threadpool(_page_of_events, serving, asked)
    after = _resumed(last_event_id) or asked.after or None
    stopping: Callable[[], bool] = getattr(request.app.state, "is_stopping", lambda: False)
    return StreamingResponse(
        stream_events(serving.ledger, after, stopping), media_type=MEDIA_TYPE, headers=_UNBUFFERED
    )


def _page_of_events(serving: Serving, asked: EventQuery) -> EventList:
    with serving.ledger.read() as tx:
        if asked.order == "newest":
            found = newest_events(tx, asked.before, asked.limit, model=asked.model)
        else:
            found = list_events(tx, asked.after, asked.limit, model=asked.model)
    return EventList(events=[EventInfo(**vars(event)) for event in found])


def _resumed(last_event_id: str | None) -> int | None:
    """The sequence number that a client has seen; one that is none of ours is ignored, as the standard says."""
    text = last_event_id or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
