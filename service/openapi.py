"""What OpenAPI says beyond what the routes declare: the shape of problems, and the keys."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service.auth import needed_role
from service.edge import BODYLESS
from service.problems import Problem, declared
from service.schemas import Feedback
from service.tensors import InferRequest

_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "an API key"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_REF = "#/components/schemas/{model}"


def describe(app: FastAPI) -> None:
    """Replaces the app's OpenAPI by one with problems, security schemes and the role of every operation."""
    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]  # FastAPI's documented way


def _schema(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        components = schema.setdefault("components", {})
        components["securitySchemes"] = _SCHEMES
        for shape in (Problem, Feedback, InferRequest):
            _add_shape(components.setdefault("schemas", {}), shape)
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                _secure(operation, method.upper(), path)
                _say_of_bodies(operation, method.upper())
        app.openapi_schema = schema
    return app.openapi_schema


def _add_shape(shapes: dict[str, Any], shape: type[BaseModel]) -> None:
    """A shape that a route reads by itself, with the shapes that it is made of."""
    described = shape.model_json_schema(ref_template=_REF)
    shapes |= described.pop("$defs", {})
    shapes[shape.__name__] = described


def _say_of_bodies(operation: dict[str, Any], method: str) -> None:
    """What is answered whatever the route is: a body too large, compressed, or not of its format."""
    if method in BODYLESS:
        return
    codes = (400, 413, 415) if "requestBody" in operation else (413, 415)
    answers = declared(*codes)
    operation["responses"] |= {str(code): answers[code] for code in codes}


def _secure(operation: dict[str, Any], method: str, path: str) -> None:
    role = needed_role(method, path)
    operation["security"] = [] if role is None else [{"key": []}, {"header": []}]
    if role is not None:
        operation["x-trimtab-role"] = role
