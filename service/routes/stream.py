"""POST /v1/predict/stream: bulk scoring, one text a line in, one answer a line out, all by one version."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from service.answering import Question, asker_of, compute, sample
from service.calls import Call, new_id
from service.deps import CallDep, Serving, ServingDep
from service.engine import Picked, Prediction
from service.problems import declared, problem_body
from service.routes.predict import predicted
from service.sampling import item_id
from service.schemas import NDJSON, Item, Name, Parameters, Text, Version
from trimtab.errors import InvalidInput, Overloaded, TrimtabError

router = APIRouter(tags=["predict"])
PATH = "/v1/predict/stream"
# Lines of one forward pass; few, so that single requests pass between two of them.
CHUNK_LINES = 16
_TEXT: TypeAdapter[str] = TypeAdapter(Text)
_ITEM = TypeAdapter(Item)
_IN = {"schema": {"type": "string", "description": 'a line is a text ("...") or an item ({"text": ...})'}}
_OUT = {"schema": {"type": "string", "description": "a prediction or a problem for each line, in order"}}
_EXAMPLE = {"example": '"What a film!"\n{"text": "Never again.", "id": "row-2"}\n'}


class BulkQuery(BaseModel):
    """How to answer every line, as query parameters. Texts that are too long are cut."""

    model: Name | None = Field(None, description="may be left out where there is one model only")
    version: Version | None = Field(None, description="number or alias; default as for single requests")
    top_k: int | None = Field(None, ge=1, description="only this many scores; implies scores")
    include: list[Literal["scores", "embedding"]] = Field(default_factory=list, alias="return")
    sample: bool = Field(True, description="false: no traffic, the monitor does not see it")

    @property
    def parameters(self) -> Parameters:
        """The same, as /v1/predict says it."""
        return Parameters.model_validate({"top_k": self.top_k, "return": self.include})


@dataclass(frozen=True)
class Bulk:
    """What holds for all lines."""

    serving: Serving
    call: Call
    # Pinned when the stream starts; a swap meanwhile does not change who answers.
    picked: Picked
    asked: BulkQuery


# A line that was read: its index, and the item or what is wrong with it.
_Line = tuple[int, Item | InvalidInput]


@router.post(
    PATH,
    response_class=StreamingResponse,
    responses={**declared(400, 404, 503), 200: {"content": {NDJSON: _OUT}}},
    openapi_extra={"requestBody": {"required": True, "content": {NDJSON: _IN | _EXAMPLE}}},
)
async def predict_stream(
    request: Request, serving: ServingDep, call: CallDep, asked: Annotated[BulkQuery, Query()]
) -> StreamingResponse:
    """Score many texts: NDJSON in, NDJSON out. A line that is wrong gets its problem, the others go on."""
    body = await request.body()
    first = next(_lines(body, serving.settings.server.max_body_bytes), None)
    picked = serving.engine.pick(asked.model, asked.version, asker_of(call, _item(first)))
    call.prediction_id = new_id()
    headers = {
        "X-Prediction-Id": call.prediction_id,
        "X-Model-Version": str(picked.bundle.version),
        "X-Adapter-Digest": picked.bundle.digest,
        "X-Generation": str(picked.generation),
    }
    answers = _answers(body, Bulk(serving, call, picked, asked))
    return StreamingResponse(answers, headers=headers, media_type=NDJSON)


async def _answers(body: bytes, bulk: Bulk) -> AsyncIterator[bytes]:
    """A piece of NDJSON per chunk; the next one is computed when the client has taken this one."""
    lines = _lines(body, bulk.serving.settings.server.max_body_bytes)
    for n in itertools.count():
        chunk = list(itertools.islice(lines, CHUNK_LINES))
        if not chunk:
            return
        answers = await _answer(chunk, f"{bulk.call.prediction_id}.{n}", bulk)
        yield b"".join(json.dumps(each).encode() + b"\n" for each in answers)


def _lines(body: bytes, max_bytes: int) -> Iterator[_Line]:
    """Every line that is not blank."""
    filled = (line for line in io.BytesIO(body) if line.strip())
    for index, line in enumerate(filled):
        yield index, _read(line, index + 1, max_bytes)


def _item(line: _Line | None) -> Item | None:
    return line[1] if line is not None and isinstance(line[1], Item) else None


def _read(line: bytes, number: int, max_bytes: int) -> Item | InvalidInput:
    if len(line) > max_bytes:
        return InvalidInput(f"line {number}: a line may have {max_bytes} bytes")
    # By its first character, so that what is wrong is said of what was meant.
    shape: TypeAdapter[str] | TypeAdapter[Item] = _ITEM if line.lstrip().startswith(b"{") else _TEXT
    try:
        read = shape.validate_json(line)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        member = "".join(f"{part}: " for part in wrong["loc"])
        return InvalidInput(f"line {number}: {member}{wrong['msg']}")
    return Item(text=read) if isinstance(read, str) else read


async def _answer(chunk: Sequence[_Line], prediction_id: str, bulk: Bulk) -> list[dict[str, Any]]:
    """An answer for each line, in their order."""
    answers = [_problem(i, item, bulk) for i, item in chunk if isinstance(item, InvalidInput)]
    good = {i: item for i, item in chunk if isinstance(item, Item)}
    try:
        answers += await _predict(good, prediction_id, bulk) if good else []
    except TrimtabError as error:
        answers += [_problem(i, error, bulk) for i in good]
    return sorted(answers, key=lambda each: int(each["index"]))


async def _predict(good: Mapping[int, Item], prediction_id: str, bulk: Bulk) -> list[dict[str, Any]]:
    items, parameters = list(good.values()), bulk.asked.parameters
    prediction = await _compute(items, bulk)
    if bulk.asked.sample:
        sample(bulk.serving, bulk.call, prediction_id, prediction, items)
    return [
        {"index": i, "id": item_id(prediction_id, place), "model_version": prediction.bundle.version}
        | predicted(prediction, place, item, parameters)
        for place, (i, item) in enumerate(good.items())
    ]


async def _compute(items: Sequence[Item], bulk: Bulk) -> Prediction:
    """Bulk gives way: while the queue is full it waits and tries again, as long as a request may last."""
    question = Question(model=bulk.picked.bundle.model, items=items)
    give_up_at = time.monotonic() + bulk.serving.settings.server.deadline_s
    while True:
        try:
            return await compute(bulk.serving, bulk.call, bulk.picked, question)
        except Overloaded as busy:
            if time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(busy.retry_after_s)


def _problem(index: int, error: TrimtabError, bulk: Bulk) -> dict[str, Any]:
    return {"index": index} | problem_body(error, bulk.call.request_id).model_dump(exclude_none=True)
