"""The demo's model name served by a tiny deployment with keys on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.demo.story import MODEL
from service.valkey import ValkeyServer
from tests.fixtures.deployment import Deployment, deployment, flushed
from trimtab.settings import AuthSettings


@pytest.fixture
def keyed(tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer) -> Iterator[Deployment]:
    with deployment(tmp_path, tiny_base_dir, flushed(valkey.url), auth=AuthSettings(mode="keys")) as made:
        made.create_model(MODEL)
        made.add_version(1, model=MODEL)
        yield made
