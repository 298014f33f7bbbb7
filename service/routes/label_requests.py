"""Label requests: what to label next, the answers, and Label Studio's webhook coming back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from service.deps import CallDep, ServingDep
from service.label_studio import ACTIONS, Task, Webhook, WebhookAnswer, task_of
from service.problems import declared
from service.schemas import Estimate, LabelAnswer, LabelRequestInfo, LabelRequestList, Name
from trimtab.errors import InvalidInput
from trimtab.ledger import label_requests
from trimtab.ledger.label_requests import Labeller, LabelRequest, Standing
from trimtab.ledger.models import get_model, list_models
from trimtab.stats.share import wilson

LEASE_S = 600.0
MAX_LEASE_S = 7 * 86_400.0
router = APIRouter(prefix="/v1/label-requests", tags=["feedback"])


class Wish(BaseModel):
    """What a labeller asks for."""

    model: Name | None = Field(None, description="default: of every model")
    limit: int = Field(20, ge=1, le=1000)
    format: Literal["native", "label-studio"] = "native"
    annotator: str = Field("", max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")
    lease: float = Field(LEASE_S, ge=0, le=MAX_LEASE_S, description="seconds; 0 only looks")


@router.get("", responses=declared(404, 503))
def next_requests(
    wish: Annotated[Wish, Query()], serving: ServingDep, call: CallDep, response: Response
) -> LabelRequestList | list[Task]:
    """What to label next: held for the caller for `lease` seconds, so that two people do not label one text.

    People who share a key tell themselves apart by `annotator`. What was predicted is left out: it would sway.
    """
    response.headers["Cache-Control"] = "no-store"
    who = Labeller(call.client, wish.annotator)
    with serving.ledger.begin() as tx:
        labels = _labels(tx, wish.model)
        found = label_requests.lease_requests(tx, wish.model, who, limit=wish.limit, lease_s=wish.lease)
        if wish.format == "label-studio":
            return [task_of(each, labels[each.model]) for each in found]
        return _listed(found, labels, [label_requests.standing(tx, name) for name in labels])


@router.post("/{request_id}", responses=declared(404, 409, 503))
def settle(request_id: str, body: LabelAnswer, serving: ServingDep, call: CallDep) -> LabelRequestInfo:
    """Answer a request, skip it, or undo what you said; an answer is feedback on its prediction."""
    who = Labeller(call.client, body.annotator)
    with serving.ledger.begin() as tx:
        settled = _settle(tx, request_id, body, who)
        return _info(settled, get_model(tx, settled.model).labels, body.label)


@router.post("/webhook/label-studio", responses=declared(400, 404, 409, 503))
def take_annotation(body: Webhook, serving: ServingDep, call: CallDep) -> WebhookAnswer:
    """Label Studio's webhook: a created or updated annotation answers its request; a skipped one skips it."""
    if body.action not in ACTIONS or body.annotation is None or body.task is None:
        return WebhookAnswer(outcome="ignored", reason=f"only {' and '.join(ACTIONS)} are of use here")
    annotation, request_id = body.annotation, body.task.data.request_id
    who = Labeller(call.client, annotation.person)
    with serving.ledger.begin() as tx:
        if annotation.was_cancelled:
            label_requests.skip(tx, request_id, who)
            return WebhookAnswer(outcome="skipped")
        if len(annotation.chosen) != 1:
            raise InvalidInput(f"the annotation has {len(annotation.chosen)} choices, a text has one label")
        label_requests.answer(tx, request_id, annotation.chosen[0], who)
    return WebhookAnswer(outcome="answered")


def _settle(tx: Connection, request_id: str, body: LabelAnswer, who: Labeller) -> LabelRequest:
    if body.label is not None:
        return label_requests.answer(tx, request_id, body.label, who)
    if body.skip:
        return label_requests.skip(tx, request_id, who)
    return label_requests.undo(tx, request_id, who, lease_s=LEASE_S)


def _labels(tx: Connection, model: str | None) -> dict[str, tuple[str, ...]]:
    """Labels by model, of one or of all. Raises ModelNotFound."""
    models = list_models(tx) if model is None else [get_model(tx, model)]
    return {each.name: tuple(each.labels) for each in models}


def _listed(
    found: Sequence[LabelRequest], labels: Mapping[str, Sequence[str]], standings: Sequence[Standing]
) -> LabelRequestList:
    estimates = [wilson(each.right, each.judged) for each in standings]
    only = estimates[0] if len(estimates) == 1 else None
    return LabelRequestList(
        requests=[_info(each, labels[each.model], None) for each in found],
        open=sum(each.open for each in standings),
        answered=sum(each.answered for each in standings),
        wanted=sum(each.wanted for each in standings),
        estimate=only and Estimate(accuracy=only.share, low=only.low, high=only.high, n=only.n),
    )


def _info(request: LabelRequest, labels: Sequence[str], label: str | None) -> LabelRequestInfo:
    shown = {name: getattr(request, name, None) for name in LabelRequestInfo.model_fields}
    return LabelRequestInfo(**(shown | {"labels": list(labels), "label": label}))
