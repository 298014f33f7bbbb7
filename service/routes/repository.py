"""Triton's model repository extension, as far as it only looks: what is loaded, and why the rest is not."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter

from service.deps import ServingDep
from service.problems import declared
from service.protocol import IndexEntry, IndexOrder
from service.routing import Route

router = APIRouter(prefix="/v2/repository", tags=["health"])


@router.post("/index", responses=declared(400))
async def index(serving: ServingDep, order: IndexOrder | None = None) -> list[IndexEntry]:
    """Every version that is loaded here, and with its reason every one that was refused."""
    table = serving.routing.table
    entries = [entry for name in sorted(table.routes) for entry in _entries(table.routes[name])]
    entries += [
        IndexEntry(name=name, version="", state="UNAVAILABLE", reason=reason)
        for name, reason in sorted(table.waiting.items())
    ]
    only_ready = order is not None and order.ready
    return [entry for entry in entries if entry.state == "READY" or not only_ready]


def _entries(route: Route) -> Iterator[IndexEntry]:
    for n in sorted({*route.bundles, *route.refused}):
        loaded = n in route.bundles
        yield IndexEntry(
            name=route.model,
            version=str(n),
            state="READY" if loaded else "UNAVAILABLE",
            reason="" if loaded else route.refused[n],
        )
