"""The HTTP application: made by `create_app`, opened and closed by one lifespan, nothing at import."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version as installed_version

import redis
from fastapi import FastAPI
from redis.backoff import NoBackoff
from redis.retry import Retry
from starlette.concurrency import run_in_threadpool

from service.adapting import Nudge
from service.auth import Keyring, check_exposure
from service.batching import Batcher
from service.deps import Serving
from service.edge import BodyLimit, Edge, Guard, Screen
from service.engine import Engine
from service.follow import Follower, Replica
from service.hints import HintListener
from service.openapi import describe
from service.problems import install_handlers
from service.routes import (
    admin,
    classes,
    console,
    drift,
    feedback,
    forget,
    health,
    infer,
    jobs,
    label_requests,
    metrics,
    models,
    predict,
    repository,
    stream,
    traffic,
    versions,
)
from service.routing import Routing
from service.sampling import Sampler
from service.shadow import Shadow
from service.swap import Loader
from service.threads import available_cores, compute_threads, use_threads
from trimtab.adapter import load_public_key
from trimtab.ledger import Ledger
from trimtab.samples import SampleStream
from trimtab.settings import Settings
from trimtab.store import AdapterStore

_REDIS_TIMEOUT_S = 2.0
_CLOSE_S = 5.0
_ROUTES = (
    predict,
    stream,
    infer,
    repository,
    feedback,
    label_requests,
    models,
    drift,
    health,
    versions,
    classes,
    jobs,
    admin,
    metrics,
    traffic,
    console,
    forget,
)


def create_app(settings: Settings, nudge: Nudge | None = None) -> FastAPI:
    """The app.

    Args:
        nudge: tells a worker of a queued job; default through Celery.

    Raises:
        SettingsError: authentication is off on an address that others can reach.
    """
    check_exposure(settings.auth.mode, settings.server.host)
    keyring = Keyring(settings.auth.mode)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.serving = await run_in_threadpool(
                _open, settings, keyring, nudge or _celery_nudge(settings), stack
            )
            yield

    app = FastAPI(
        title="Trimtab",
        version=installed_version("trimtab"),
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    for module in _ROUTES:
        app.include_router(module.router)
    install_handlers(app)
    _wrap(app, settings, keyring)
    describe(app)
    return app


def _wrap(app: FastAPI, settings: Settings, keyring: Keyring) -> None:
    """The layers around all routes; the last one added is the outermost."""
    server = settings.server
    app.add_middleware(
        BodyLimit, max_bytes=server.max_body_bytes, larger={stream.PATH: server.max_stream_bytes}
    )
    app.add_middleware(Guard, keyring=keyring)
    app.add_middleware(Screen, hosts=server.host_names, trusting=settings.auth.mode == "off")
    app.add_middleware(Edge)


def _open(settings: Settings, keyring: Keyring, nudge: Nudge, stack: AsyncExitStack) -> Serving:
    """Opens every part and leaves its closing on the stack, in reverse order."""
    key = load_public_key(settings.public_key_path)
    ledger = Ledger(settings.ledger_url)
    _on_exit(stack, ledger.close)
    client = redis_client(settings.redis_url)
    _on_exit(stack, client.close)
    routing, replica = Routing(), _replica(settings)
    threads = compute_threads(settings.server.threads, available_cores(), settings.server.workers)
    batcher = Batcher(settings.server, on_start=partial(use_threads, threads))
    shadow = Shadow(routing, batcher.is_idle)
    sampler = Sampler(
        SampleStream(client, settings.samples.stream_maxlen),
        shadow,
        replica=replica.name,
        rate=settings.samples.rate,
        keep_text=settings.samples.retention_s > 0,
        capacity=settings.samples.ring,
    )
    loader = Loader(AdapterStore(settings.store_url), key, device=settings.device, server=settings.server)
    follower = Follower(
        ledger,
        loader,
        routing,
        keyring,
        shadow,
        replica=replica,
        poll_s=settings.server.poll_s,
        drain_s=settings.server.drain_s,
    )
    hints = HintListener(client, follower.wake)
    for part in (batcher, sampler, follower, hints):
        part.start()
        _on_exit(stack, partial(part.close, _CLOSE_S))
    return Serving(
        settings=settings,
        ledger=ledger,
        redis=client,
        routing=routing,
        follower=follower,
        engine=Engine(routing, batcher, settings.server.deadline_s),
        sampler=sampler,
        nudge=nudge,
    )


def redis_client(url: str) -> redis.Redis:
    """A client that says at once that Redis is away instead of trying for long."""
    return redis.Redis.from_url(
        url,
        socket_timeout=_REDIS_TIMEOUT_S,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def _on_exit(stack: AsyncExitStack, close: Callable[[], None]) -> None:
    stack.push_async_callback(run_in_threadpool, close)


def _replica(settings: Settings) -> Replica:
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:4]}"
    return Replica(name, os.getpid(), f"http://{settings.server.host}:{settings.server.port}")


def _celery_nudge(settings: Settings) -> Nudge:
    def nudge(job_id: str) -> None:
        from workers.app import configure
        from workers.app import nudge as send

        configure(settings)
        send(job_id)

    return nudge
