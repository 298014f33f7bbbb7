"""LoRA with replay: how long it trains, what it learns and keeps, and how far it steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.toy_texts import toy_rows
from tests.workers.remedies.conftest import MakeTask, labelled
from trimtab.adapter import HEAD, WEIGHTS
from workers.evaluate import Answers
from workers.fit import TrainingSet
from workers.lora import interpolate
from workers.remedies.lora import (
    MARGIN,
    MAX_EPOCHS,
    MIN_TO_CHOOSE,
    STEPS,
    USUAL_STEPS,
    Step,
    candidate_of,
    choose_step,
    epochs_for,
    propose_lora,
    recipe_of,
    steps_between,
    train,
)
from workers.task import Declined, Proposal, Task

BATCH = 16
SHOPS, FILMS = labelled(toy_rows("shop", 400, seed=5)), labelled(toy_rows("film", 400, seed=6))
SELECTION = labelled(toy_rows("shop", MIN_TO_CHOOSE + 20, seed=2))
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def task(make_task: MakeTask) -> Task:
    return make_task(train=labelled(toy_rows("shop", 120, seed=1)), selection=SELECTION, past={"film": FILMS})


@pytest.fixture(scope="module")
def trained(task: Task) -> Files:
    return train(task, task.train, recipe_of(task))[0]


def accuracy(answers: Answers, rows: TrainingSet) -> float:
    return answers.scorecard(rows.texts, rows.labels).accuracy


def test_few_labels_are_passed_over_so_often_that_the_steps_are_the_usual_ones() -> None:
    assert epochs_for(600, at_least=3) == 3
    assert epochs_for(100, at_least=3) == 16
    assert 16 * -(-100 // BATCH) == USUAL_STEPS
    assert epochs_for(5000, at_least=3) == 3
    assert epochs_for(5, at_least=3) == MAX_EPOCHS
    assert epochs_for(1500, at_least=1) == 1


@given(st.integers(1, 10_000), st.integers(1, 30))
def test_epochs_are_within_their_bounds_and_fall_with_the_rows(n: int, at_least: int) -> None:
    found = epochs_for(n, at_least)
    assert at_least <= found <= max(at_least, MAX_EPOCHS)
    assert epochs_for(n + BATCH, at_least) <= found
    if at_least < found < MAX_EPOCHS:  # no epoch more or less would come nearer
        steps = -(-n // BATCH)
        assert abs(found * steps - USUAL_STEPS) <= steps / 2


def test_the_recipe_is_the_tasks(task: Task) -> None:
    recipe = recipe_of(replace(task, max_seconds=12.0, seed=9, max_tokens=64, epochs=40))
    assert (recipe.epochs, recipe.max_seconds, recipe.seed, recipe.max_tokens) == (40, 12.0, 9, 64)


def test_it_learns_the_new_domain_and_replay_keeps_the_old(task: Task, trained: Files) -> None:
    forgetful = replace(task, replay=replace(task.replay, texts=(), labels=task.replay.labels[:0]))
    kept = candidate_of(task, trained).answers
    lost = candidate_of(task, train(forgetful, task.train, recipe_of(task))[0]).answers
    assert accuracy(kept, SHOPS) > accuracy(task.champion.answers, SHOPS) + 0.1
    assert accuracy(kept, FILMS) > accuracy(lost, FILMS) + 0.05


def test_with_labels_to_choose_by_every_step_is_scored(task: Task, trained: Files) -> None:
    steps = steps_between(task, trained)
    assert [step.alpha for step in steps] == list(STEPS)
    for step in steps:
        answers = step.candidate.answers
        assert step.accuracy == accuracy(answers, SELECTION)
        before, after = (
            each.scorecard(FILMS.texts, FILMS.labels).right for each in (task.champion.answers, answers)
        )
        difference = before.astype(float) - after
        assert step.loss == pytest.approx(difference.mean() - difference.std() / np.sqrt(len(FILMS.texts)))


def test_the_whole_step_is_what_was_trained_and_a_smaller_one_on_the_way(task: Task, trained: Files) -> None:
    whole, *_, small = steps_between(task, trained)
    texts = SHOPS.texts[:40]
    plain = candidate_of(task, trained).answers.outputs(texts).logits
    assert np.allclose(whole.candidate.answers.outputs(texts).logits, plain, atol=1e-4)
    by_hand = candidate_of(task, interpolate(task.champion.files, trained, small.alpha).files)
    assert small.candidate.files[HEAD] == by_hand.files[HEAD]
    assert small.candidate.files[WEIGHTS] == by_hand.files[WEIGHTS]


def test_without_labels_to_choose_by_the_first_harmless_step_ends_the_search(
    task: Task, trained: Files
) -> None:
    few = replace(task, selection=TrainingSet(SELECTION.texts[:20], SELECTION.labels[:20]))
    steps = steps_between(few, trained)
    assert all(step.loss > MARGIN for step in steps[:-1])
    assert steps[-1].loss <= MARGIN or len(steps) == len(STEPS)
    assert choose_step(few, steps) is steps[-1] or steps[-1].loss > MARGIN
    assert [step.alpha for step in steps_between(replace(few, past={}), trained)] == [1.0]


def step(task: Task, alpha: float, accuracy: float, nll: float = 0.5, loss: float = 0.0) -> Step:
    return Step(alpha, candidate_of(task, dict(task.champion.files)), accuracy, nll, loss)


def test_the_choice_of_a_step(task: Task) -> None:
    whole, half = step(task, 1.0, 0.8), step(task, 0.6, 0.8, nll=0.4)
    assert choose_step(task, [whole, half]) is half  # as accurate, more likely
    assert choose_step(task, [replace(whole, accuracy=0.9), half]).alpha == 1.0
    harmful = replace(whole, accuracy=0.9, loss=MARGIN + 0.01)
    assert choose_step(task, [harmful, half]) is half
    assert choose_step(task, [replace(half, loss=0.05), harmful]).loss == harmful.loss
    few = replace(task, selection=TrainingSet(SELECTION.texts[:20], SELECTION.labels[:20]))
    assert choose_step(few, [whole, half]) is whole
    assert choose_step(few, [harmful, half]) is half


def test_the_proposal_tells_its_fit_and_its_steps(task: Task) -> None:
    told: list[tuple[str, int, int]] = []
    found = propose_lora(
        replace(task, selection=TrainingSet((), SELECTION.labels[:0]), report=lambda *each: told.append(each))
    )
    assert isinstance(found, Proposal)
    n = epochs_for(120, task.epochs) * -(-120 // BATCH)
    assert told == [("training", step, n) for step in range(1, n + 1)]
    assert found.details["fit"]["steps"] == n
    assert found.details["steps"][0]["alpha"] == 1.0
    assert f"{len(task.train.texts)} labels" in found.reason


def test_too_few_labels_of_a_class_are_declined(make_task: MakeTask) -> None:
    rows = [row for row in toy_rows("shop", 100) if row.label == "positive"][:20]
    found = propose_lora(make_task(train=labelled(rows)))
    assert isinstance(found, Declined)
    assert "'negative'" in found.reason
