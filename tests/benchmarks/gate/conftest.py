"""A small world of the gate study: a tiny base with random weights and toy texts, version 1 made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gate.bad import Setting
from benchmarks.gate.world import World, make_first
from tests.fixtures.toy_texts import LABELS, toy_rows
from trimtab.datafiles import Row
from trimtab.settings import TrainingSettings


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path) -> Setting:
    training = TrainingSettings(
        threads=1,
        epochs=3,
        min_train_labels=50,
        min_selection_labels=5,
        min_gate_labels=50,
        min_labels_per_class=8,
    )
    world = World(
        tmp_path_factory.mktemp("study"), str(tiny_base_dir), tuple(toy_rows("film", 300, seed=50)), mixed(50)
    )
    make_first(world, toy_rows("film", 800, seed=1), training, epochs=5)
    return Setting(world, mixed(2), training, LABELS, epochs=2)


def mixed(seed: int) -> tuple[Row, ...]:
    """A new domain of which the champion knows most: three texts about films to two about shops."""
    return (*toy_rows("film", 270, seed=seed), *toy_rows("shop", 180, seed=seed))
