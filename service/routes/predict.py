"""POST /v1/predict: texts in, labels out, and the sample on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.calls import Call
from service.deps import CallDep, Serving, ServingDep
from service.engine import Prediction
from service.problems import declared
from service.sampling import Answered, item_id
from service.schemas import Item, Parameters, PredictAnswer, PredictRequest
from trimtab import metrics
from trimtab.errors import InvalidInput

router = APIRouter(tags=["predict"])


@router.post("/v1/predict", response_model=PredictAnswer, responses=declared(400, 404, 413, 429, 503, 504))
async def predict(body: PredictRequest, request: Request, serving: ServingDep, call: CallDep) -> Response:
    """Classify one text or several; all items of a request are answered by one version."""
    items = body.items()
    _check_count(items, serving.settings.server.max_items)
    prediction = await _unless_gone(
        request,
        serving.engine.predict(
            body.model,
            _version_of(body.version),
            [item.text for item in items],
            truncate=body.parameters.truncate,
            deadline_s=body.parameters.timeout_ms and body.parameters.timeout_ms / 1000,
        ),
    )
    if prediction is None:
        return Response(status_code=499)  # nobody reads it; the code is for the log
    if body.parameters.sample:
        _sample(serving, call, prediction, items)
    answer = _answer(call.request_id, prediction, items, body.parameters)
    return JSONResponse(answer, headers=prediction_headers(call.request_id, prediction))


def prediction_headers(request_id: str, prediction: Prediction) -> dict[str, str]:
    """What every prediction says of its origin."""
    return {
        "X-Prediction-Id": request_id,
        "X-Model-Version": str(prediction.bundle.version),
        "X-Adapter-Digest": prediction.bundle.digest,
        "X-Generation": str(prediction.generation),
    }


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Prediction]) -> Prediction | None:
    """The result of the work; None, and the work cancelled, when the client went away meanwhile."""
    computing = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({computing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return computing.result() if computing.done() else None
    finally:
        leaving.cancel()
        if not computing.done():
            computing.cancel()
            metrics.REJECTED.labels("client_gone").inc()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _check_count(items: list[Item], max_items: int) -> None:
    if not items:
        raise InvalidInput("inputs: name at least one text")
    if len(items) > max_items:
        raise InvalidInput(f"inputs: {len(items)} items, a request may have {max_items}")


def _version_of(version: int | str | None) -> int | str | None:
    return int(version) if isinstance(version, str) and version.isdigit() else version


def _sample(serving: Serving, call: Call, prediction: Prediction, items: list[Item]) -> None:
    serving.sampler.offer(
        Answered(
            request_id=call.request_id,
            client=call.client,
            prediction=prediction,
            texts=[item.text for item in items],
            domains=[item.domain for item in items],
            groups=[item.group for item in items],
        )
    )


def _answer(
    request_id: str, prediction: Prediction, items: list[Item], parameters: Parameters
) -> dict[str, Any]:
    bundle = prediction.bundle
    return {
        "id": request_id,
        "model": bundle.model,
        "model_version": bundle.version,
        "adapter_digest": bundle.digest,
        "generation": prediction.generation,
        "predictions": [
            {"id": item_id(request_id, i)}
            | _predicted(prediction, i, parameters)
            | ({} if item.id is None else {"item_id": item.id})
            for i, item in enumerate(items)
        ],
    }


def _predicted(prediction: Prediction, i: int, parameters: Parameters) -> dict[str, Any]:
    probabilities = prediction.probabilities[i]
    order = (-probabilities).argsort(kind="stable")
    labels = prediction.bundle.labels
    predicted: dict[str, Any] = {"label": labels[order[0]], "score": float(probabilities[order[0]])}
    if parameters.top_k is not None or "scores" in parameters.include:
        predicted["scores"] = {labels[j]: float(probabilities[j]) for j in order[: parameters.top_k]}
    if "embedding" in parameters.include:
        predicted["embedding"] = prediction.outputs.pooled[i].tolist()
    return predicted
