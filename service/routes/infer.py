"""Open Inference Protocol v2: inference, with JSON or binary tensors."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from service.answering import Question, answer, check_count, parse_version, prediction_headers
from service.calls import Call
from service.deps import CallDep, Serving, ServingDep
from service.problems import declared
from service.protocol import InferAnswer
from service.schemas import Item
from service.tensors import read_inference, tensor_of, values_of, write_answer

router = APIRouter(prefix="/v2/models", tags=["infer"])
_LENGTH = "Inference-Header-Content-Length"
HeaderLength = Annotated[
    str | None, Header(alias=_LENGTH, description="bytes of JSON before the binary tensors")
]
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}},
    }
    | _BYTES,
}
_ROUTE: dict[str, Any] = {
    "response_model": InferAnswer,
    "responses": declared(400, 404, 429, 503, 504) | {200: {"content": _BYTES}},
    "openapi_extra": {"requestBody": _BODY},
}


@router.post("/{model}/infer", **_ROUTE)
async def infer(
    model: str, request: Request, serving: ServingDep, call: CallDep, header_length: HeaderLength = None
) -> Response:
    """Classify texts: input `text` (BYTES), outputs `label`, `probabilities`, on request `logits`, `embedding`."""
    return await _infer(model, None, request, serving, call, header_length)


@router.post("/{model}/versions/{version}/infer", **_ROUTE)
async def infer_by_version(
    model: str,
    version: str,
    request: Request,
    serving: ServingDep,
    call: CallDep,
    header_length: HeaderLength = None,
) -> Response:
    """The same by one version, named by number or alias."""
    return await _infer(model, parse_version(version), request, serving, call, header_length)


async def _infer(
    model: str, version: int | str | None, request: Request, serving: Serving, call: Call, length: str | None
) -> Response:
    asked = read_inference(await request.body(), length)
    check_count(len(asked.texts), serving.settings.server.max_items)
    parameters = asked.request.parameters
    question = Question(
        model=model,
        version=version,
        items=[
            Item(text=text, id=None, domain=parameters.domain, group=parameters.group) for text in asked.texts
        ],
        truncate=parameters.truncate,
        timeout_s=parameters.timeout_s,
        sample=parameters.sample,
    )
    prediction = await answer(request, serving, call, question)
    tensors = [tensor_of(name, values_of(name, prediction), binary=binary) for name, binary in asked.outputs]
    head = {
        "model_name": prediction.bundle.model,
        "model_version": str(prediction.bundle.version),
        "id": asked.request.id or call.prediction_id,
        "parameters": {
            "prediction_id": call.prediction_id,
            "adapter_digest": prediction.bundle.digest,
            "generation": prediction.generation,
        },
    }
    return _response(*write_answer(head, tensors), prediction_headers(call.prediction_id, prediction))


def _response(body: bytes, json_length: int | None, headers: dict[str, str]) -> Response:
    if json_length is None:
        return Response(body, headers=headers, media_type="application/json")
    headers = headers | {_LENGTH: str(json_length)}
    return Response(body, headers=headers, media_type="application/octet-stream")
