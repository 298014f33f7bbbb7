"""GET /v1/models: what this replica serves."""

from __future__ import annotations

from fastapi import APIRouter

from service.deps import ServingDep
from service.problems import declared
from service.routing import Route
from service.schemas import ModelInfo, ModelList

router = APIRouter(tags=["models"])


@router.get("/v1/models", responses=declared())
async def list_models(serving: ServingDep) -> ModelList:
    """Every model with its loaded versions."""
    routes = serving.routing.table.routes
    return ModelList(models=[_info(routes[name]) for name in sorted(routes)])


def _info(route: Route) -> ModelInfo:
    return ModelInfo(
        name=route.model,
        labels=list(route.champion.labels),
        champion=route.champion.version,
        previous=route.aliases.get("previous"),
        challenger=route.aliases.get("challenger"),
        baseline=route.aliases.get("baseline"),
        versions=sorted(route.bundles),
        generation=route.generation,
        base=route.champion.base.name,
    )
