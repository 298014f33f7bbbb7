"""Errors over HTTP: one shape for all, RFC 9457 problem+json with a string member `error` for inference clients.

What an error of ours means in HTTP is one line of `_KINDS`; an error that nobody foresaw gives its id, never its text.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from service.calls import call_of
from trimtab import errors
from trimtab.errors import TrimtabError, Unavailable

MEDIA_TYPE = "application/problem+json"
_URN = "urn:trimtab:problem:"
_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = Field(examples=["urn:trimtab:problem:model-not-found"])
    title: str
    status: int
    detail: str
    request_id: str
    error: str = Field(description="title and detail in one string, for Open Inference Protocol clients")
    errors: list[dict[str, Any]] | None = Field(None, description="what is wrong with which field (422)")


@dataclass(frozen=True)
class Kind:
    """What an error class means in HTTP; the detail of an internal error is not shown, its docstring is."""

    status: int
    slug: str
    title: str
    internal: bool = False


_KINDS: Mapping[type[Exception], Kind] = {
    TrimtabError: Kind(500, "internal", "Internal error", internal=True),
    errors.InvalidTensor: Kind(400, "invalid-tensor", "The inference request is not valid"),
    errors.InvalidInput: Kind(422, "validation", "The request is not valid"),
    errors.NotFound: Kind(404, "not-found", "Not found"),
    errors.ModelNotFound: Kind(404, "model-not-found", "Model not found"),
    errors.VersionNotFound: Kind(404, "version-not-found", "Version not found"),
    errors.VersionNotLoaded: Kind(404, "version-not-loaded", "Version not loaded"),
    errors.AliasNotFound: Kind(404, "alias-not-found", "Alias not found"),
    errors.JobNotFound: Kind(404, "job-not-found", "Job not found"),
    errors.ReportNotFound: Kind(404, "report-not-found", "Drift report not found"),
    errors.LabelRequestNotFound: Kind(404, "label-request-not-found", "Label request not found"),
    errors.Conflict: Kind(409, "conflict", "Conflict"),
    errors.LabelRequestTaken: Kind(409, "label-request-taken", "Somebody else labels this text"),
    errors.JobInFlight: Kind(409, "job-in-flight", "An adaptation is under way"),
    errors.IllegalTransition: Kind(409, "illegal-transition", "The job cannot change so"),
    errors.VersionRefused: Kind(409, "version-refused", "The version must not be served"),
    errors.NothingToRollBack: Kind(409, "nothing-to-roll-back", "Nothing to roll back to"),
    errors.NothingToAcknowledge: Kind(409, "nothing-to-acknowledge", "No confirmed drift to acknowledge"),
    errors.AdapterRefused: Kind(409, "adapter-refused", "The adapter must not be served"),
    errors.GenerationMismatch: Kind(412, "generation-mismatch", "Somebody else was faster"),
    errors.Unavailable: Kind(503, "unavailable", "Not available now"),
    errors.NotReady: Kind(503, "not-ready", "Not ready"),
    errors.StoreUnavailable: Kind(503, "store-unavailable", "Adapter store not available", internal=True),
    errors.LedgerUnavailable: Kind(503, "ledger-unavailable", "Ledger not available", internal=True),
    errors.QueueUnavailable: Kind(503, "queue-unavailable", "Queue not available", internal=True),
    errors.Overloaded: Kind(429, "overloaded", "Too many requests"),
    errors.DeadlineExceeded: Kind(504, "deadline-exceeded", "Deadline exceeded"),
}
# Errors without a class of their own: those of HTTP itself.
_HTTP_SLUGS = {
    400: "malformed-body",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
    421: "misdirected-request",
    428: "precondition-required",
    499: "client-closed-request",
}


def install_handlers(app: FastAPI) -> None:
    """Every foreseen error becomes a problem; the others do in service.edge."""
    app.add_exception_handler(TrimtabError, _answer_trimtab_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_error)


def declared(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer these codes, and those that every route may."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    every = sorted({*codes, 401, 403, 422, 500})
    return {code: {"description": HTTPStatus(code).phrase, "content": content} for code in every}


def problem(
    status: int,
    slug: str,
    title: str,
    detail: str,
    request_id: str,
    *,
    items: list[dict[str, Any]] | None = None,
) -> Problem:
    """A problem; items say what is wrong with which field."""
    return Problem(
        type=_URN + slug,
        title=title,
        status=status,
        detail=detail,
        request_id=request_id,
        error=f"{title}: {detail}",
        errors=items,
    )


def problem_body(error: TrimtabError, request_id: str) -> Problem:
    """The problem of an error of ours."""
    kind = _kind_of(error)
    detail = str(type(error)()) if kind.internal else str(error)
    return problem(kind.status, kind.slug, kind.title, detail, request_id)


def answer_with(body: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """A problem as a response; 429 and 503 always say when to come back."""
    sent = dict(headers or {})
    if body.status in {429, 503}:
        sent.setdefault("Retry-After", "1")
    # ASCII: a name that a client sent may hold what UTF-8 cannot say (a lone surrogate).
    text = json.dumps(body.model_dump(exclude_none=True), ensure_ascii=True)
    return Response(text, body.status, sent, media_type=MEDIA_TYPE)


def http_problem(
    status: int, detail: str, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The problem of a plain HTTP error (401, 404, 405, 413 ...)."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error"
    return answer_with(
        problem(status, _HTTP_SLUGS.get(status, "http-error"), phrase, detail, request_id), headers
    )


def problem_of(error: TrimtabError, request_id: str) -> Response:
    """The response to an error of ours."""
    body = problem_body(error, request_id)
    if isinstance(error, Unavailable) and body.status in {429, 503}:
        return answer_with(body, {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))})
    return answer_with(body)


def _kind_of(error: TrimtabError) -> Kind:
    return next(_KINDS[cls] for cls in type(error).__mro__ if cls in _KINDS)


async def _answer_trimtab_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TrimtabError)  # noqa: S101  # registered for this class
    response = problem_of(error, call_of(request.scope).request_id)
    if response.status_code >= 500 and response.status_code != 504:
        _log.warning("%s", error, extra={"request_id": call_of(request.scope).request_id})
    return response


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this class
    request_id = call_of(request.scope).request_id
    items = [
        {"at": [str(part) for part in item["loc"]], "problem": str(item["msg"])} for item in error.errors()
    ]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return http_problem(400, "the body is not valid JSON", request_id)
    first = items[0]
    # Without the header a body is text to the framework: curl's `-d` alone sends a form.
    if first["at"] == ["body"] and "json" not in request.headers.get("content-type", ""):
        first["problem"] = "send it with the header Content-Type: application/json"
    detail = f"{'.'.join(first['at'])}: {first['problem']}"
    return answer_with(
        problem(422, "validation", "The request is not valid", detail, request_id, items=items)
    )


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this class
    return http_problem(error.status_code, error.detail, call_of(request.scope).request_id, error.headers)
