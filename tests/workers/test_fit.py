from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.fixtures.toy_texts import LABELS, toy_rows
from trimtab.base import BaseModel
from trimtab.store import CheckpointStore
from workers.checkpoints import Checkpoints
from workers.classifier import TrainableClassifier
from workers.fit import MEASURED_STEPS, Recipe, ReplaySet, TrainingSet, digest_of, fit

RECIPE = Recipe(epochs=1, seed=3, batch=8)


class Killed(Exception):
    """The process ends here."""


def killed_at(*steps: int) -> Callable[[int, int], None]:
    """A report that ends the fit at these steps, the first time it gets there."""
    left = set(steps)

    def told(step: int, _of: int) -> None:
        if step in left:
            left.remove(step)
            raise Killed

    return told


def untold(_step: int, _of: int) -> None:
    """Nobody waits for it."""


def exemplars(n: int) -> ReplaySet:
    kept = training_set("shop", n, seed=3)
    logits = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    return ReplaySet(kept.texts, kept.labels, logits, ("shop",) * n)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(
        CheckpointStore(tmp_path.as_uri()), "a" * 32, Ed25519PrivateKey.generate(), every_s=0.0
    )


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
        fit(network, new, kept, RECIPE, untold)
        files.append(network.files())
    assert files[0] == files[1]


def test_replay_keeps_what_was_known(tiny_base: BaseModel) -> None:
    """Learning shops after films: with replay films stay, without they suffer."""
    films, shops, held_out = (
        training_set("film", 160), training_set("shop", 160), training_set("film", 150, seed=5),
    )  # fmt: skip
    recipe = Recipe(epochs=5, seed=1)
    start = TrainableClassifier(tiny_base, 2, 1)
    fit(start, films, None, recipe, untold)
    state = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    memory = ReplaySet(films.texts, films.labels, start.predict_logits(films.texts, 64))
    loss_of_logits = {}
    for name, replay in (("with", memory), ("without", None)):
        network = TrainableClassifier(tiny_base, 2, 1)
        network.load_state_dict(state)
        fit(network, shops, replay, recipe, untold)
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


LONG = Recipe(epochs=3, seed=3, batch=8)  # of 60 rows: 24 steps


def test_a_fit_in_pieces_gives_the_very_same_weights(tiny_base: BaseModel, checkpoints: Checkpoints) -> None:
    """Ended at the first, a middle and the last step, each time gone on from by a process that knows nothing."""
    new, kept = training_set("film", 60), exemplars(20)
    whole = TrainableClassifier(tiny_base, 2, 1)
    told: list[int] = []
    fit(whole, new, kept, LONG, lambda step, _of: told.append(step))
    stop = killed_at(1, 2, 9, 24)
    for _ in range(4):
        with pytest.raises(Killed):
            fit(TrainableClassifier(tiny_base, 2, 1), new, kept, LONG, stop, checkpoints)
    network = TrainableClassifier(tiny_base, 2, 1)
    again: list[int] = []
    report = fit(network, new, kept, LONG, lambda step, _of: again.append(step), checkpoints)
    assert (report.resumed_at, report.steps, report.planned, again) == (24, 24, 24, [])
    assert told == list(range(1, 25))
    assert network.files() == whole.files()


def test_where_it_goes_on_the_steps_before_are_not_made_again(
    tiny_base: BaseModel, checkpoints: Checkpoints
) -> None:
    new = training_set("film", 60)
    with pytest.raises(Killed):
        fit(TrainableClassifier(tiny_base, 2, 1), new, None, LONG, killed_at(10), checkpoints)
    told: list[int] = []
    report = fit(
        TrainableClassifier(tiny_base, 2, 1),
        new,
        None,
        LONG,
        lambda step, _of: told.append(step),
        checkpoints,
    )
    assert (report.resumed_at, report.steps, told) == (10, 24, list(range(11, 25)))


def test_checkpoints_come_at_the_marks_and_in_time(tiny_base: BaseModel, checkpoints: Checkpoints) -> None:
    """With a long interval: when the steps are decided, and after each of the epochs of 8 steps."""
    rare, stop = replace(checkpoints, every_s=1e9), killed_at(4, 7, 15, 23)
    resumed = []
    for _ in range(5):
        network = TrainableClassifier(tiny_base, 2, 1)
        try:
            resumed.append(fit(network, training_set("film", 60), None, LONG, stop, rare).resumed_at)
        except Killed:
            found = rare.load(
                digest_of(TrainableClassifier(tiny_base, 2, 1), training_set("film", 60), None, LONG)
            )
            resumed.append(int(found.facts["step"]) if found else 0)
    assert resumed == [0, MEASURED_STEPS, 8, 16, 16]


@pytest.mark.parametrize("change", ["text", "label", "replay", "recipe", "start"])
def test_another_fit_does_not_go_on_from_it(
    tiny_base: BaseModel, checkpoints: Checkpoints, change: str
) -> None:
    new, kept, recipe, seed = training_set("film", 30), exemplars(10), replace(LONG, epochs=1), 1
    fit(TrainableClassifier(tiny_base, 2, seed), new, kept, recipe, untold, checkpoints)
    match change:
        case "text":
            new = replace(new, texts=("something else", *new.texts[1:]))
        case "label":
            new = replace(new, labels=1 - new.labels)
        case "replay":
            kept = replace(kept, logits=kept.logits + 1.0)
        case "recipe":
            recipe = replace(recipe, lora_lr=2e-3)
        case _:
            seed = 2
    report = fit(TrainableClassifier(tiny_base, 2, seed), new, kept, recipe, untold, checkpoints)
    assert report.resumed_at == 0


def test_the_steps_are_decided_once_and_kept(tiny_base: BaseModel, checkpoints: Checkpoints) -> None:
    """No time for 24 steps: 5 are made to measure them, and that many it stays, however fast a later machine is."""
    new, hasty = training_set("film", 60), replace(LONG, max_seconds=1e-6)
    of: set[int] = set()
    stop = killed_at(MEASURED_STEPS)

    def told(step: int, total: int) -> None:
        of.add(total)
        stop(step, total)

    with pytest.raises(Killed):
        fit(TrainableClassifier(tiny_base, 2, 1), new, None, hasty, told, checkpoints)
    report = fit(TrainableClassifier(tiny_base, 2, 1), new, None, hasty, told, checkpoints)
    assert of == {24, MEASURED_STEPS}
    assert (report.steps, report.planned, report.resumed_at) == (MEASURED_STEPS, 24, MEASURED_STEPS)


def test_steps_that_were_decided_hold_where_the_checkpoint_is_lost(
    tiny_base: BaseModel, tmp_path: Path
) -> None:
    """Begun anew without it, and with a machine that had time for 5 steps only, the fit has the 17 of the plan."""
    new, hasty = training_set("film", 60), replace(LONG, max_seconds=1e-6)
    plan: dict[str, int] = {}
    key, made = Ed25519PrivateKey.generate(), []
    for attempt in ("one", "two"):
        store = CheckpointStore((tmp_path / attempt).as_uri())
        kept = Checkpoints(store, "a" * 32, key, fixed_steps=plan.setdefault)
        made.append(fit(TrainableClassifier(tiny_base, 2, 1), new, None, hasty, untold, kept))
        plan.update(dict.fromkeys(plan, 17))
    assert [(report.steps, report.resumed_at) for report in made] == [(MEASURED_STEPS, 0), (17, 0)]
    assert list(plan) == [digest_of(TrainableClassifier(tiny_base, 2, 1), new, None, hasty)]


def test_with_time_enough_all_steps_are_made_and_the_budget_changes_nothing(tiny_base: BaseModel) -> None:
    networks = []
    for budget in (None, 1e6):
        network = TrainableClassifier(tiny_base, 2, 1)
        report = fit(network, training_set("film", 60), None, replace(LONG, max_seconds=budget), untold)
        assert (report.steps, report.planned) == (24, 24)
        networks.append(network.files())
    assert networks[0] == networks[1]


def test_the_report_says_how_classes_were_balanced(tiny_base: BaseModel) -> None:
    even, rare = training_set("film", 40), training_set("film", 40)
    rare = replace(rare, labels=np.array([0] * 38 + [1] * 2))
    names = [
        fit(TrainableClassifier(tiny_base, 2, 1), new, None, RECIPE, untold).balance for new in (even, rare)
    ]
    assert names == ["effective number", "logit adjustment"]
