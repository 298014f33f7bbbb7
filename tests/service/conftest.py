"""A tiny deployment for the tests of the API: one that a test may change, and one for a whole module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.valkey import ValkeyServer
from tests.fixtures.calls import Trimtab, caller
from tests.fixtures.deployment import Deployment, RunningApi, deployment, flushed


@pytest.fixture
def toy(tmp_path: Path, tiny_base_dir: Path, valkey: ValkeyServer) -> Iterator[Deployment]:
    """A deployment with an empty ledger."""
    with deployment(tmp_path, tiny_base_dir, flushed(valkey.url)) as made:
        yield made


@pytest.fixture(scope="module")
def shared_toy(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path, valkey: ValkeyServer
) -> Iterator[Deployment]:
    """A deployment with model `toy`: version 1 is previous, version 2 champion."""
    with deployment(tmp_path_factory.mktemp("toy"), tiny_base_dir, valkey.url) as made:
        made.create_model()
        made.add_version(1)
        made.add_version(2)
        yield made


@pytest.fixture(scope="module")
def api(shared_toy: Deployment) -> Iterator[RunningApi]:
    """The shared deployment, served; for tests that do not change what is served."""
    with shared_toy.running() as running:
        yield running


@pytest.fixture
def trimtab(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Trimtab:
    """Calls `trimtab` in this process: arguments in, exit code and output out."""
    return caller(monkeypatch, capfd)
