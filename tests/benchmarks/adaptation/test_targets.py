from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.adaptation.targets import CHOICES, Outcome, joined, table
from trimtab.base import BaseModel, load_base
from workers.fit import ReplaySet


@pytest.fixture(scope="module")
def small(tiny_base_dir: Path) -> BaseModel:
    return load_base(str(tiny_base_dir), "cpu")


def test_each_choice_adapts_what_it_says(small: BaseModel) -> None:
    found = {name: choice(small).targets for name, choice in CHOICES.items()}
    assert [len(each) for each in found.values()] == [12, 4, 6]
    assert all(name.endswith((".query", ".value")) for name in found["query and value"])
    assert all("layer.1." in name for name in found["upper half, all linear"])
    assert not any("pooler" in name for each in found.values() for name in each)


def test_replay_sets_are_joined_in_order() -> None:
    assert joined([]) is None
    parts = [
        ReplaySet((f"{name}1",), np.array([i]), np.full((1, 2), float(i), np.float32), (name,))
        for i, name in enumerate(("a", "b"))
    ]
    whole = joined(parts)
    assert whole is not None
    assert (whole.texts, whole.domains, whole.labels.tolist()) == (("a1", "b1"), ("a", "b"), [0, 1])
    assert whole.logits.tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_only_complete_seeds_are_compared() -> None:
    def outcome(choice: str, seed: int, accuracy: float) -> Outcome:
        return Outcome(choice, seed, dict.fromkeys(("movie", "tweets", "amazon"), accuracy), 10.0, 5.0, 0.1)

    names = list(CHOICES)
    outcomes = [
        outcome(name, seed, 0.8 - 0.01 * i * (seed + 1)) for i, name in enumerate(names) for seed in (0, 1)
    ]
    lines = table([*outcomes, outcome(names[0], 2, 0.1)]).splitlines()
    assert len(lines) == 4
    assert "| +0.00 ± 0.00 |" in lines[1]
    assert "| -1.50 ± 0.50 |" in lines[2]
