from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scipy.special import softmax

from tests.fixtures.toy_texts import toy_rows
from tests.workers.remedies.conftest import MakeTask, labelled
from trimtab.store import CheckpointStore
from workers.artefact import draft_of
from workers.checkpoints import Checkpoints
from workers.evaluate import Answers
from workers.fit import FitReport
from workers.remedies import self_training
from workers.remedies.lora import candidate_of, epochs_for, recipe_of, train
from workers.remedies.self_training import (
    STUDENTS,
    Student,
    Teacher,
    by_labels,
    by_shares,
    lesson,
    match_shares,
    propose_self_training,
    pseudo_labels,
    rounds,
    taught,
)
from workers.task import Declined, Proposal, Task

FEW = labelled(toy_rows("shop", 40, seed=3))
HELD_OUT = labelled(toy_rows("shop", 400, seed=5))
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


@pytest.fixture(scope="module")
def unlabelled_task(make_task: MakeTask) -> Task:
    return make_task(unlabelled=SHOPS)


@pytest.fixture(scope="module")
def few_task(make_task: MakeTask) -> Task:
    """Forty labels and five hundred texts without."""
    return make_task(unlabelled=SHOPS, train=FEW)


def accuracy(answers: Answers) -> float:
    return answers.scorecard(HELD_OUT.texts, HELD_OUT.labels).accuracy


def test_without_labels_three_students_learn_one_from_the_other(unlabelled_task: Task) -> None:
    """Seen from outside: every student is a fit of its own, each to more of the texts."""
    told: list[tuple[int, int]] = []
    task = replace(unlabelled_task, report=lambda stage, step, of: told.append((step, of)))
    teacher = by_shares(task)
    assert isinstance(teacher, Teacher)
    told.clear()
    student = taught(task, teacher, STUDENTS)
    fits = [of for step, of in told if step == 1]
    expected = []
    for share in STUDENTS:
        n = round(share * len(SHOPS))
        expected.append(epochs_for(n, at_least=1) * -(-n // 16))
    assert fits == pytest.approx(
        expected, abs=12
    )  # a class's share is rounded: one batch more or less an epoch
    assert student.fitted.steps == fits[-1]
    assert student.logits.shape == (len(SHOPS), 2)


def test_labels_of_the_window_teach(few_task: Task) -> None:
    """Forty labels and what they teach the other texts gain on the champion; a plain file opens as it answers."""
    found = propose_self_training(few_task)
    assert isinstance(found, Proposal)
    assert found.name.startswith("self_training")
    assert accuracy(found.answers) > accuracy(few_task.champion.answers) + 0.1
    assert found.details["fit"]["steps"] == found.details["fit"]["planned"]
    names = ("adapter_model.safetensors", "adapter_config.json", "head.safetensors")
    files = {name: found.candidate.files[name] for name in names}
    built = draft_of(few_task.base, files, model="toy", version=2, labels=few_task.labels, max_tokens=128)
    assert np.allclose(
        built.answers.outputs(HELD_OUT.texts).logits,
        found.answers.outputs(HELD_OUT.texts).logits,
        atol=1e-5,
    )


def test_the_labels_stand_in_the_lesson_three_times(few_task: Task) -> None:
    rows = lesson(few_task, np.array([3, 5]), np.array([1, 0]))
    assert rows.texts[:2] == (SHOPS[3], SHOPS[5])
    assert rows.labels[:2].tolist() == [1, 0]
    for text, label in zip(FEW.texts, FEW.labels, strict=True):
        assert [rows.labels[i] for i, each in enumerate(rows.texts) if each == text] == [label] * 3
    assert len(rows.texts) == len(rows.labels) == 2 + 3 * len(FEW.texts)


def test_the_teacher_with_labels_is_what_lora_makes_of_them(few_task: Task) -> None:
    """The same fit: where a checkpoint keeps it, it is made once for both remedies."""
    files, _ = train(few_task, few_task.train, recipe_of(few_task))
    teacher = by_labels(few_task)
    logits = candidate_of(few_task, files).answers.outputs(SHOPS).logits
    assert np.array_equal(teacher.logits, logits.astype(np.float64))
    assert teacher.shares == pytest.approx(softmax(logits, axis=1).mean(axis=0))


def test_killed_in_the_student_it_ends_with_the_same_adapter(few_task: Task, tmp_path: Path) -> None:
    """Ended in the teacher's and in the student's fit, gone on from the checkpoints, bit by bit."""
    whole = propose_self_training(few_task)
    store = CheckpointStore(tmp_path.as_uri())
    kept = Checkpoints(store, "a" * 32, Ed25519PrivateKey.generate(), every_s=0.0)

    class Killed(Exception):
        pass

    for last in (20, 60):  # 48 steps are the teacher's; a count begins anew where a fit is gone on from
        steps = 0

        def count(stage: str, step: int, of: int, last: int = last) -> None:
            nonlocal steps
            steps += 1
            if steps == last:
                raise Killed

        with pytest.raises(Killed):
            propose_self_training(replace(few_task, checkpoints=kept, report=count))
    resumed = propose_self_training(replace(few_task, checkpoints=kept))
    assert isinstance(whole, Proposal)
    assert isinstance(resumed, Proposal)
    assert resumed.details["fit"]["resumed_at"] > 0
    for name in ("adapter_model.safetensors", "head.safetensors"):
        assert resumed.candidate.files[name] == whole.candidate.files[name]


def test_a_collapse_declines(few_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    one_class = np.column_stack([np.ones(len(SHOPS)), np.zeros(len(SHOPS))])
    student = Student({}, one_class, FitReport(1, 1.0, 1.0))
    monkeypatch.setattr(self_training, "taught", lambda task, teacher, students: student)
    found = propose_self_training(few_task)
    assert isinstance(found, Declined)
    assert "collapsed" in found.reason


def test_shares_that_cannot_be_told_decline(unlabelled_task: Task) -> None:
    """Texts that the champion gives to one class only."""
    answers = unlabelled_task.champion.answers.outputs(SHOPS).logits.argmax(axis=1)
    negative = tuple(text for text, label in zip(SHOPS, answers, strict=True) if label == 0)
    found = propose_self_training(replace(unlabelled_task, unlabelled=negative))
    assert isinstance(found, Declined)


def test_nothing_to_learn_from_is_declined(make_task: MakeTask, unlabelled_task: Task) -> None:
    assert isinstance(propose_self_training(make_task(unlabelled=SHOPS[:199])), Declined)
    replay = unlabelled_task.replay
    few = replace(replay, texts=replay.texts[:5], labels=replay.labels[:5])
    found = propose_self_training(replace(unlabelled_task, replay=few))
    assert isinstance(found, Declined)
    assert "exemplars" in found.reason
