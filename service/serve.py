"""`trimtab serve`: the API, in one process or in several that share the port and nothing but the ledger."""

from __future__ import annotations

import multiprocessing
import os
import signal

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from service.children import die_with_parent
from service.exposition import shared_metrics
from service.threads import available_cores, compute_threads, prepare_environment
from trimtab.adapter import load_public_key
from trimtab.ledger import Ledger
from trimtab.logs import set_up_logs
from trimtab.settings import Settings, as_environment, read_settings
from trimtab.store import AdapterStore

_KEEP_ALIVE_S = 30
# A worker that starts on a busy machine is not hung.
_WORKER_HANGS_S = 60


def run_server(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what is under way.

    Raises:
        SettingsError: authentication is off on an address that others can reach, or the public key is missing.
    """
    set_up_logs("api")
    _check(settings)
    if settings.server.workers > 1:
        _run_workers(settings)
    else:
        server_of(_create_app(settings), settings).run()


def worker_app() -> FastAPI:
    """The app of one of several workers; its settings come from the environment that its parent made."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        die_with_parent(signal.SIGKILL, parent.pid)
    set_up_logs("api")
    return _create_app(read_settings())


def server_of(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """A server that is configured, not started."""
    server = uvicorn.Server(_config(app, settings))
    # A stream of events would keep the server from ending.
    app.state.is_stopping = lambda: server.should_exit
    return server


def _run_workers(settings: Settings) -> None:
    """One listening socket, several processes that accept from it; one that ends is started again."""
    os.environ.update(as_environment(settings))
    config = _config("service.serve:worker_app", settings)
    with shared_metrics():
        listener = config.bind_socket()
        Multiprocess(config, sockets=[listener]).run()


def _create_app(settings: Settings) -> FastAPI:
    prepare_environment(os.environ)
    # Here, because the parent of several workers needs neither.
    import torch

    from service.app import create_app

    server = settings.server
    torch.set_num_threads(compute_threads(server.threads, available_cores(), server.workers))
    return create_app(settings)


def _check(settings: Settings) -> None:
    """Says what is wrong with the settings before the server starts. Raises SettingsError."""
    load_public_key(settings.public_key_path)
    Ledger(settings.ledger_url).close()
    AdapterStore(settings.store_url)


def _config(app: FastAPI | str, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        host=settings.server.host,
        port=settings.server.port,
        workers=settings.server.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.server.drain_s)),
        timeout_worker_healthcheck=_WORKER_HANGS_S,
        lifespan="on",
    )
