"""A question put by any of the prediction routes: computed, sampled, given an id and its headers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException

from service.calls import Call, new_id
from service.deps import Serving
from service.engine import Picked, Prediction
from service.sampling import Answered
from service.schemas import Item
from trimtab import metrics
from trimtab.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Question:
    """Texts for one model, and how to answer."""

    # None: the only model there is.
    model: str | None
    # Number or alias; None: the champion.
    version: int | str | None = None
    items: Sequence[Item]
    truncate: bool = True
    # A shorter deadline than the configured one.
    timeout_s: float | None = None
    # Whether the monitor sees it.
    sample: bool = True


async def answer(request: Request, serving: Serving, call: Call, question: Question) -> Prediction:
    """The prediction of all items by one version; `call.prediction_id` names it.

    Raises:
        InvalidInput: no items, or too many.
        HTTPException: 499, the client went away; nobody reads it, the code is for the log.
        And what Engine.pick and Engine.predict raise.
    """
    check_count(len(question.items), serving.settings.server.max_items)
    picked = serving.engine.pick(question.model, question.version, asker_of(call, question.items[0]))
    prediction = await _unless_gone(request, compute(serving, call, picked, question))
    call.prediction_id = new_id()
    call.timing = dict(prediction.timing)
    if question.sample:
        sample(serving, call, call.prediction_id, prediction, question.items)
    return prediction


def asker_of(call: Call, first: Item | None) -> str:
    """Who is answered by the same version for as long as a trial's stage lasts: the API key's client and, within it,
    the group of the request's first item.
    """
    return call.client if first is None or first.group is None else f"{call.client}\n{first.group}"


async def compute(serving: Serving, call: Call, picked: Picked, question: Question) -> Prediction:
    """What the version that was picked says. Raises what Engine.predict raises."""
    return await serving.engine.predict(
        picked,
        [item.text for item in question.items],
        domains=[item.domain for item in question.items],
        truncate=question.truncate,
        deadline_s=question.timeout_s,
        client=call.client,
    )


def check_count(n: int, max_items: int) -> None:
    """Raises InvalidInput when a request has no item or more than allowed."""
    if n == 0:
        raise InvalidInput("inputs: name at least one text")
    if n > max_items:
        raise InvalidInput(f"inputs: {n} items, a request may have {max_items}")


def sample(
    serving: Serving, call: Call, prediction_id: str, prediction: Prediction, items: Sequence[Item]
) -> None:
    """Offers the items to the monitor; never waits, never fails."""
    serving.sampler.offer(
        Answered(
            request_id=prediction_id,
            client=call.client,
            prediction=prediction,
            texts=[item.text for item in items],
            domains=[item.domain for item in items],
            groups=[item.group for item in items],
        )
    )


def prediction_headers(prediction_id: str, prediction: Prediction) -> dict[str, str]:
    """What every prediction says of its origin."""
    return {
        "X-Prediction-Id": prediction_id,
        "X-Model-Version": str(prediction.bundle.version),
        "X-Adapter-Digest": prediction.bundle.digest,
        "X-Generation": str(prediction.generation),
    }


def parse_version(text: str) -> int | str:
    """A version number, or an alias."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Prediction]) -> Prediction:
    """The result of the work; when the client goes away meanwhile, the work is cancelled."""
    computing = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({computing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if computing.done():
            return computing.result()
        metrics.REJECTED.labels("client_gone").inc()
        raise HTTPException(499, "the client went away")
    finally:
        leaving.cancel()
        computing.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
