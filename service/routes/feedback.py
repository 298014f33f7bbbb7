"""POST /v1/feedback: true labels, one, a list, or one a line; joined to predictions in whatever order they come."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from service.deps import CallDep, Serving, ServingDep
from service.problems import declared
from service.sampling import item_id
from service.schemas import Feedback, FeedbackAnswer, RejectedFeedback
from trimtab import metrics
from trimtab.ledger.feedback import FeedbackItem, record_feedback
from trimtab.ledger.samples import get_prediction

MAX_ITEMS = 5000
_NDJSON = "application/x-ndjson"
router = APIRouter(tags=["feedback"])
_one = {"$ref": "#/components/schemas/Feedback"}
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"anyOf": [_one, {"type": "array", "items": _one}]}},
        _NDJSON: {"schema": {"type": "string", "description": "one JSON object a line"}},
    },
}


@dataclass
class _Batch:
    """Items that can be recorded, with their place in the request, and those that cannot."""

    items: list[FeedbackItem] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    rejected: list[RejectedFeedback] = field(default_factory=list)


@router.post(
    "/v1/feedback",
    status_code=202,
    responses=declared(400, 503),
    openapi_extra={"requestBody": _BODY},
)
async def give_feedback(request: Request, serving: ServingDep, call: CallDep) -> FeedbackAnswer:
    """Record true labels; saying the same again changes nothing. A wrong item of several does not stop the others."""
    raw = _parse(await request.body(), request.headers.get("content-type", ""))
    batch = _read(raw, call.client)
    answer = await run_in_threadpool(_record, serving, batch)
    _count(answer)
    return answer


def _parse(body: bytes, content_type: str) -> list[Any] | Any:
    """A list for several items (NDJSON included), anything else for one. Raises 400, 413."""
    try:
        if content_type.partition(";")[0].strip().lower() == _NDJSON:
            parsed: Any = [json.loads(line) for line in body.decode().splitlines() if line.strip()]
        else:
            parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(
            400, "the body is not valid JSON (or, with application/x-ndjson, a line of it)"
        ) from None
    if isinstance(parsed, list) and len(parsed) > MAX_ITEMS:
        raise HTTPException(413, f"{len(parsed)} items, a request may have {MAX_ITEMS}")
    return parsed


def _read(raw: list[Any] | Any, client: str) -> _Batch:
    """Raises RequestValidationError when the one item that was sent is not valid."""
    batch = _Batch()
    for index, one in enumerate(raw if isinstance(raw, list) else [raw]):
        try:
            item = Feedback.model_validate(one)
        except ValidationError as error:
            if not isinstance(raw, list):
                raise RequestValidationError(error.errors()) from None
            batch.rejected.append(RejectedFeedback(index=index, reason=_first(error)))
            continue
        batch.places.append(index)
        batch.items.append(
            FeedbackItem(
                prediction_id=item.prediction_id,
                label=item.label,
                annotator=item.annotator,
                observed_at=item.observed_at.timestamp() if item.observed_at else None,
                client=client,
            )
        )
    return batch


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _record(serving: Serving, batch: _Batch) -> FeedbackAnswer:
    with serving.ledger.begin() as tx:
        named = [(place, _named(tx, item)) for place, item in zip(batch.places, batch.items, strict=True)]
        good = [(place, item) for place, item in named if isinstance(item, FeedbackItem)]
        ambiguous = [
            RejectedFeedback(index=place, reason=item) for place, item in named if isinstance(item, str)
        ]
        outcome = record_feedback(
            tx, [item for _, item in good], daily_quota=serving.settings.labels.daily_quota
        )
    for model, delay_s in outcome.delays:
        metrics.FEEDBACK_DELAY.labels(model).observe(delay_s)
    refused = [RejectedFeedback(index=good[i][0], reason=reason) for i, reason in outcome.rejected]
    return FeedbackAnswer(
        accepted=outcome.accepted,
        joined=outcome.joined,
        pending=outcome.pending,
        duplicates=outcome.duplicates,
        rejected=sorted([*batch.rejected, *ambiguous, *refused], key=lambda each: each.index),
    )


def _named(tx: Any, item: FeedbackItem) -> FeedbackItem | str:
    """The item under its item's id; the bare id of a request of several items says nothing: why it is refused."""
    if ":" in item.prediction_id:
        return item
    if get_prediction(tx, item_id(item.prediction_id, 1)) is not None:
        return f"{item.prediction_id} had several items: name one, such as {item_id(item.prediction_id, 0)}"
    return FeedbackItem(**(vars(item) | {"prediction_id": item_id(item.prediction_id, 0)}))


def _count(answer: FeedbackAnswer) -> None:
    outcomes = {
        "joined": answer.joined,
        "pending": answer.pending,
        "duplicate": answer.duplicates,
        "rejected": len(answer.rejected),
    }
    for outcome, n in outcomes.items():
        metrics.FEEDBACK.labels(outcome).inc(n)
