"""Version 1 of a toy model that learnt films, and tasks made of it as a benchmark makes them: no job, no window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pytest

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, toy_shop
from trimtab.base import BaseModel
from trimtab.datafiles import Row
from trimtab.ledger.examples import list_examples
from workers.fit import ReplaySet, TrainingSet
from workers.task import Task
from workers.workshop import LoadedVersion, load_version


class MakeTask(Protocol):
    """Makes a task of the film version; fields may be given."""

    def __call__(self, **given: Any) -> Task: ...


def labelled(rows: Sequence[Row]) -> TrainingSet:
    labels = np.array([LABELS.index(row.label) for row in rows], dtype=np.int64)
    return TrainingSet(tuple(row.text for row in rows), labels)


NOTHING = labelled([])


@pytest.fixture(scope="session")
def film_shop(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Any
) -> Iterator[tuple[ToyShop, LoadedVersion, BaseModel]]:
    """A workshop whose version 1 learnt films."""
    from trimtab.base import load_base

    with toy_shop(tmp_path_factory.mktemp("films"), tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 900))
        base = load_base(str(tiny_base_dir), "cpu")
        yield toy, load_version(toy.shop, base, MODEL, 1), base


@pytest.fixture(scope="session")
def make_task(film_shop: tuple[ToyShop, LoadedVersion, BaseModel]) -> MakeTask:
    toy, champion, base = film_shop
    with toy.ledger.read() as tx:
        memory = list_examples(tx, MODEL, "memory")
        gate = list_examples(tx, MODEL, "gate")
    replay = ReplaySet(
        tuple(example.text for example in memory),
        np.array([LABELS.index(str(example.label)) for example in memory]),
        np.array([example.logits for example in memory], dtype=np.float32),
    )

    def make(**given: Any) -> Task:
        usual: dict[str, Any] = {
            "base": base, "champion": champion, "labels": LABELS, "domain": "shop", "train": NOTHING,
            "selection": NOTHING, "replay": replay, "held_out": frozenset(example.key for example in gate),
            "version": 2, "epochs": 4,
        }  # fmt: skip
        return Task(**(usual | given))

    return make
