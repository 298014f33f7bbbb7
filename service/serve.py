"""`trimtab serve`: one API process."""

from __future__ import annotations

import os

import torch
import uvicorn

from service.app import create_app
from trimtab.logs import set_up_logs
from trimtab.settings import Settings

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
    server(settings).run()


def server(settings: Settings) -> uvicorn.Server:
    """A server that is configured, not started."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
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
