"""GET /metrics, for Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.exposition import exposition
from service.problems import declared

router = APIRouter(tags=["metrics"])
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/metrics", response_class=Response, responses={**declared(), **_TEXT})
def metrics() -> Response:
    """Every metric in the Prometheus text format; of all API processes together where several share the port."""
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)
