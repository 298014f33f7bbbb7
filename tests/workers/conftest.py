"""A tiny base and toy workshops: one per test, and one per module whose version 1 and adaptation are made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import ToyShop, toy_shop
from trimtab.base import BaseModel, load_base
from trimtab.jobs import AdaptationJob
from workers.adapt import run_adaptation


@pytest.fixture(scope="session")
def tiny_base(tiny_base_dir: Path) -> BaseModel:
    return load_base(str(tiny_base_dir), "cpu")


@pytest.fixture
def empty_shop(tmp_path: Path, tiny_base_dir: Path) -> Iterator[ToyShop]:
    """A workshop with an empty ledger."""
    with toy_shop(tmp_path, tiny_base_dir) as toy:
        yield toy


@pytest.fixture(scope="module")
def adapted(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path
) -> Iterator[tuple[ToyShop, AdaptationJob]]:
    """Version 1 learnt films, traffic went over to shops, an adaptation ran: the shop and the ended job. Read only."""
    with toy_shop(tmp_path_factory.mktemp("adapted"), tiny_base_dir) as toy:
        toy.create_first()
        toy.stream(toy_rows("film", 40, seed=9), name="before")
        first_seq = toy.stream(toy_rows("shop", 400), name="after")
        job = toy.open_job(first_seq)
        run_adaptation(toy.shop, toy.claim(job))
        yield toy, toy.job(job.id)
