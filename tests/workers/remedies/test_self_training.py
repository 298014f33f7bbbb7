from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from tests.fixtures.toy_texts import toy_rows
from tests.workers.remedies.conftest import MakeTask, labelled
from workers.remedies import self_training
from workers.remedies.self_training import (
    Teacher,
    calibrate,
    match_shares,
    propose_self_training,
    pseudo_labels,
    rounds,
    teach,
)
from workers.remedies.variants import head_of
from workers.task import Declined, Proposal

SHOPS = tuple(row.text for row in toy_rows("shop", 500, seed=31))
LOGITS = np.random.default_rng(0).normal(size=(400, 3)) * 3 + np.array([2.0, 0.0, 0.0])


@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.7, 0.2, 0.1), (0.05, 0.05, 0.9)])
def test_offsets_give_the_wanted_shares(shares: tuple[float, ...]) -> None:
    matched = match_shares(LOGITS, np.array(shares))
    assert softmax(matched, axis=1).mean(axis=0) == pytest.approx(shares, abs=1e-3)
    # One offset a class, the same for every row.
    assert np.ptp(matched - LOGITS, axis=0) == pytest.approx(np.zeros(3), abs=1e-9)


def test_the_surest_of_every_class_are_chosen() -> None:
    shares = np.array([0.4, 0.3, 0.3])
    matched = match_shares(LOGITS, shares)
    answers = matched.argmax(axis=1)
    chosen, labels = pseudo_labels(LOGITS, shares, 0.5)
    assert np.array_equal(labels, answers[chosen])
    margins = np.diff(np.sort(matched, axis=1)[:, -2:], axis=1)[:, 0]
    for label in range(3):
        of_class = answers == label
        taken = np.isin(np.arange(400), chosen) & of_class
        assert taken.sum() == pytest.approx(of_class.sum() / 2, abs=0.51)
        assert margins[taken].min() >= margins[of_class & ~taken].max()


def test_everything_is_chosen_in_the_end() -> None:
    chosen, _ = pseudo_labels(LOGITS, np.array([0.4, 0.3, 0.3]), 1.0)
    assert sorted(chosen.tolist()) == list(range(400))


def test_the_teacher_is_the_centred_champion(make_task: MakeTask) -> None:
    """Its logits are the champion's with one offset a class; its shares are a distribution."""
    task = make_task(unlabelled=SHOPS)
    calibration = calibrate(task)
    assert calibration is not None
    teacher = teach(task, calibration)
    moved = teacher.logits - task.champion.answers.outputs(SHOPS).logits
    assert np.ptp(moved, axis=0).max() < 1e-4
    assert teacher.shares.sum() == pytest.approx(1.0)


def test_errors_that_have_no_pattern_are_unlearnt(make_task: MakeTask) -> None:
    """A teacher that is wrong on every fifth text, at random, and less sure there: the head learns the rule."""
    rows, random = labelled(toy_rows("shop", 800, seed=31)), np.random.default_rng(1)
    right = random.random(800) > 0.2
    margin = np.where(right, random.uniform(0.5, 4.0, 800), -random.uniform(0.5, 2.0, 800))
    signed = np.where(rows.labels == 1, margin, -margin)
    task = make_task(unlabelled=rows.texts)
    shares = np.bincount(rows.labels) / 800
    weight, bias = rounds(task, Teacher(np.column_stack([-signed / 2, signed / 2]), shares))
    held_out = labelled(toy_rows("shop", 400, seed=5))
    states = task.champion.answers.outputs(held_out.texts).pooled
    accuracy = ((states @ weight.T + bias).argmax(axis=1) == held_out.labels).mean()
    before = task.champion.answers.scorecard(held_out.texts, held_out.labels).accuracy
    assert accuracy > before + 0.1


def test_a_collapse_declines(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(unlabelled=SHOPS)
    weight, _ = head_of(task)
    one_class = (weight * 0, np.array([9.0, 0.0], dtype=np.float32))
    monkeypatch.setattr(self_training, "rounds", lambda task, teacher: one_class)
    found = propose_self_training(task)
    assert isinstance(found, Declined)
    assert "collapsed" in found.reason


def test_gate_rows_do_not_calibrate(make_task: MakeTask) -> None:
    task = make_task(unlabelled=SHOPS)
    everything = replace(task, held_out=frozenset())
    assert calibrate(task) != calibrate(everything)


def test_nothing_to_learn_from_is_declined(make_task: MakeTask) -> None:
    assert isinstance(propose_self_training(make_task(unlabelled=SHOPS[:199])), Declined)
    task = make_task(unlabelled=SHOPS)
    few = replace(task.replay, texts=task.replay.texts[:5], labels=task.replay.labels[:5])
    assert isinstance(propose_self_training(replace(task, replay=few)), Declined)


def test_labels_take_part(make_task: MakeTask) -> None:
    task = make_task(unlabelled=SHOPS, train=labelled(toy_rows("shop", 100, seed=3)))
    without, held_out = replace(task, train=labelled([])), labelled(toy_rows("shop", 400, seed=5))
    with_labels, alone = propose_self_training(task), propose_self_training(without)
    assert isinstance(with_labels, Proposal)
    gain = with_labels.answers.scorecard(held_out.texts, held_out.labels).accuracy
    other = alone.answers if isinstance(alone, Proposal) else task.champion.answers
    assert gain > other.scorecard(held_out.texts, held_out.labels).accuracy
