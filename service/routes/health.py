"""Open Inference Protocol v2: server and model metadata, liveness, readiness. Never touches the ledger."""

from __future__ import annotations

from importlib.metadata import version as installed_version

from fastapi import APIRouter, Response

from service.answering import parse_version
from service.deps import ServingDep
from service.problems import declared
from service.protocol import Live, ModelMetadata, ModelReady, Ready, Server, Tensor
from service.routing import Route
from service.tensors import OUTPUTS, TEXT
from trimtab.bundle import ModelBundle

router = APIRouter(prefix="/v2", tags=["health"])
EXTENSIONS = ("binary_tensor_data", "model_repository(index)")


@router.get("", responses=declared())
@router.get("/", include_in_schema=False)
async def server() -> Server:
    """The server's name and version."""
    return Server(name="trimtab", version=installed_version("trimtab"), extensions=list(EXTENSIONS))


@router.get("/health/live")
async def live() -> Live:
    """The process answers; says nothing of models."""
    return Live(live=True, ready=True)


@router.get("/health/ready", responses={503: {"model": Ready, "description": "Not every model is served"}})
async def ready(serving: ServingDep, response: Response) -> Ready:
    """Whether every model is served; a ledger or Redis that is away does not make a replica unready."""
    reasons = serving.routing.table.reasons()
    if reasons:
        response.status_code = 503
        response.headers["Retry-After"] = "1"
    return Ready(live=True, ready=not reasons, reasons=list(reasons))


@router.get("/models/{model}", responses=declared(404, 503))
async def model_metadata(model: str, serving: ServingDep) -> ModelMetadata:
    """Inputs, outputs and loaded versions of a model."""
    route = serving.engine.route(model)
    return _metadata(route, route.champion)


@router.get("/models/{model}/versions/{version}", responses=declared(404, 503))
async def version_metadata(model: str, version: str, serving: ServingDep) -> ModelMetadata:
    """The same for one version, by number or alias."""
    route = serving.engine.route(model)
    return _metadata(route, route.pick(parse_version(version)))


@router.get("/models/{model}/ready", responses=declared(404, 503))
async def model_ready(model: str, serving: ServingDep) -> ModelReady:
    """Whether a model is served; 503 with the reason when it is not yet."""
    return _is_ready(serving.engine.route(model).champion)


@router.get("/models/{model}/versions/{version}/ready", responses=declared(404, 503))
async def version_ready(model: str, version: str, serving: ServingDep) -> ModelReady:
    """Whether a version is loaded, by number or alias."""
    return _is_ready(serving.engine.route(model).pick(parse_version(version)))


def _is_ready(bundle: ModelBundle) -> ModelReady:
    return ModelReady(name=bundle.model, ready=True, version=str(bundle.version))


def _metadata(route: Route, bundle: ModelBundle) -> ModelMetadata:
    widths = {
        "probabilities": len(bundle.labels),
        "logits": len(bundle.labels),
        "embedding": bundle.base.hidden_size,
    }
    return ModelMetadata(
        name=route.model,
        versions=[str(n) for n in sorted(route.bundles)],
        platform="trimtab",
        inputs=[Tensor(name=TEXT, datatype="BYTES", shape=[-1])],
        outputs=[
            Tensor(name=name, datatype=datatype, shape=[-1, *([widths[name]] if name in widths else [])])
            for name, datatype in OUTPUTS.items()
        ],
    )
