"""`trimtab serve`: one API process."""

from __future__ import annotations

import os

import torch
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from trimtab.adapter import load_public_key
from trimtab.ledger import Ledger
from trimtab.logs import set_up_logs
from trimtab.settings import Settings
from trimtab.store import AdapterStore

_KEEP_ALIVE_S = 30


def run_server(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what is under way.

    Raises:
        SettingsError: authentication is off on an address that others can reach, or the public key is missing.
    """
    # Thread pools read this once; the tokenizer is fast enough on the inference thread alone.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(settings.server.threads)
    set_up_logs("api")
    _check(settings)
    server_of(create_app(settings), settings).run()


def _check(settings: Settings) -> None:
    """Says what is wrong with the settings before the server starts. Raises SettingsError."""
    load_public_key(settings.public_key_path)
    Ledger(settings.ledger_url).close()
    AdapterStore(settings.store_url)


def server_of(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """A server that is configured, not started."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.server.host,
            port=settings.server.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(settings.server.drain_s)),
            lifespan="on",
        )
    )
