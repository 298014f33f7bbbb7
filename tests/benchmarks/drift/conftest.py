"""A small world for the drift benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.drift.changes import World, load_world
from benchmarks.drift.corpus import SCORED, save_corpus
from tests.fixtures.corpora import normal_corpus


@pytest.fixture(scope="session")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds a scored corpus."""
    cache = tmp_path_factory.mktemp("bench")
    save_corpus(normal_corpus(), cache / SCORED)
    return cache


@pytest.fixture(scope="session")
def world(cached: Path) -> World:
    return load_world(cached)
