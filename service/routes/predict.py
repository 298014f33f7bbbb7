"""POST /v1/predict: texts in, labels out; and the same in the shape that Hugging Face clients know."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.answering import Question, answer, prediction_headers
from service.deps import CallDep, ServingDep
from service.engine import Prediction
from service.problems import declared
from service.protocol import HuggingFaceLabel, HuggingFaceRequest
from service.sampling import item_id
from service.schemas import PREDICT_EXAMPLES, Item, Parameters, PredictAnswer, PredictRequest
from trimtab.features import Floats

router = APIRouter(tags=["predict"])
_EXAMPLES = {"requestBody": {"content": {"application/json": {"examples": PREDICT_EXAMPLES}}}}


@router.post(
    "/v1/predict",
    response_model=PredictAnswer,
    responses=declared(400, 404, 429, 503, 504),
    openapi_extra=_EXAMPLES,
)
async def predict(body: PredictRequest, request: Request, serving: ServingDep, call: CallDep) -> Response:
    """Classify one text or several; all items of a request are answered by one version."""
    parameters = body.parameters
    question = Question(
        model=body.model,
        version=body.version,
        items=body.items(),
        truncate=parameters.truncate,
        timeout_s=parameters.timeout_ms and parameters.timeout_ms / 1000,
        sample=parameters.sample,
    )
    prediction = await answer(request, serving, call, question)
    content = origin(call.prediction_id, prediction) | {
        "predictions": [
            {"id": item_id(call.prediction_id, i)} | predicted(prediction, i, item, parameters)
            for i, item in enumerate(question.items)
        ]
    }
    return JSONResponse(content, headers=prediction_headers(call.prediction_id, prediction))


@router.post(
    "/models/{model}",
    response_model=list[list[HuggingFaceLabel]],
    responses=declared(400, 404, 429, 503, 504),
)
async def text_classification(
    model: str, body: HuggingFaceRequest, request: Request, serving: ServingDep, call: CallDep
) -> Response:
    """Text classification as Hugging Face's inference clients ask it: per text its labels, the likeliest first."""
    texts = body.inputs if isinstance(body.inputs, list) else [body.inputs]
    question = Question(model=model, items=[Item(text=text) for text in texts])
    prediction = await answer(request, serving, call, question)
    rows = [
        [{"label": label, "score": score} for label, score in _ranked(row, prediction, body.parameters.top_k)]
        for row in prediction.probabilities
    ]
    return JSONResponse(rows, headers=prediction_headers(call.prediction_id, prediction))


def origin(prediction_id: str, prediction: Prediction) -> dict[str, Any]:
    """Which version answered."""
    return {
        "id": prediction_id,
        "model": prediction.bundle.model,
        "model_version": prediction.bundle.version,
        "adapter_digest": prediction.bundle.digest,
        "generation": prediction.generation,
    }


def predicted(prediction: Prediction, i: int, item: Item, parameters: Parameters) -> dict[str, Any]:
    """The answer to item i, without its id."""
    ranked = _ranked(prediction.probabilities[i], prediction, parameters.top_k)
    members: dict[str, Any] = {"label": ranked[0][0], "score": ranked[0][1]}
    if parameters.top_k is not None or "scores" in parameters.include:
        members["scores"] = dict(ranked)
    if "embedding" in parameters.include:
        members["embedding"] = prediction.outputs.pooled[i].tolist()
    return members if item.id is None else members | {"item_id": item.id}


def _ranked(row: Floats, prediction: Prediction, top_k: int | None) -> list[tuple[str, float]]:
    """(label, probability) of one row of k probabilities, the likeliest first, ties in the order of the labels."""
    labels = prediction.bundle.labels
    order = (-row).argsort(kind="stable")
    return [(labels[j], float(row[j])) for j in order[:top_k]]
