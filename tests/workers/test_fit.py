from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.fixtures.toy_texts import LABELS, toy_rows
from trimtab.base import BaseModel
from workers.classifier import TrainableClassifier
from workers.fit import Recipe, ReplaySet, TrainingSet, fit

RECIPE = Recipe(epochs=1, seed=3, batch=8)


def training_set(domain: str, n: int, seed: int = 0) -> TrainingSet:
    rows = toy_rows(domain, n, seed)
    return TrainingSet(tuple(row.text for row in rows), np.array([LABELS.index(row.label) for row in rows]))


def test_it_learns_and_tells_every_step(tiny_base: BaseModel) -> None:
    network = TrainableClassifier(tiny_base, 2, 1)
    told: list[tuple[int, int]] = []
    new = training_set("film", 160)
    report = fit(network, new, None, Recipe(epochs=5, seed=1), lambda step, of: told.append((step, of)))
    assert told == [(step, 50) for step in range(1, 51)]
    assert report.steps == 50
    held_out = training_set("film", 100, seed=5)
    right = network.predict_logits(held_out.texts, 64).argmax(axis=1) == held_out.labels
    assert right.mean() > 0.85


def test_the_same_seed_gives_the_same_weights(tiny_base: BaseModel) -> None:
    new = training_set("film", 40)
    kept = ReplaySet(new.texts, new.labels, np.zeros((40, 2), dtype=np.float32))
    files = []
    for _ in range(2):
        network = TrainableClassifier(tiny_base, 2, 1)
        fit(network, new, kept, RECIPE, lambda step, of: None)
        files.append(network.files())
    assert files[0] == files[1]


def test_replay_keeps_what_was_known(tiny_base: BaseModel) -> None:
    """Learning shops after films: with replay films stay, without they suffer."""
    films, shops, held_out = (
        training_set("film", 160), training_set("shop", 160), training_set("film", 150, seed=5),
    )  # fmt: skip
    recipe = Recipe(epochs=5, seed=1)
    start = TrainableClassifier(tiny_base, 2, 1)
    fit(start, films, None, recipe, lambda step, of: None)
    state = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    memory = ReplaySet(films.texts, films.labels, start.predict_logits(films.texts, 64))
    loss_of_logits = {}
    for name, replay in (("with", memory), ("without", None)):
        network = TrainableClassifier(tiny_base, 2, 1)
        network.load_state_dict(state)
        fit(network, shops, replay, recipe, lambda step, of: None)
        after = torch.from_numpy(network.predict_logits(held_out.texts, 64))
        loss_of_logits[name] = float(
            torch.nn.functional.cross_entropy(after, torch.from_numpy(held_out.labels))
        )
    assert loss_of_logits["with"] < 0.7 * loss_of_logits["without"]


def test_what_the_report_raises_ends_the_fit(tiny_base: BaseModel) -> None:
    class Enough(Exception):
        pass

    def stop(step: int, of: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        fit(TrainableClassifier(tiny_base, 2, 1), training_set("film", 30), None, RECIPE, stop)
