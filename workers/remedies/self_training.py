"""Class-balanced self-training: features and head learn from texts without a label.

1. Teacher. With labels of the window (eight of every class or more): the champion's LoRA trained on them. Without: the
   champion; the classes' shares q are those of a mixture (workers.remedies.mixture), its logits are offset until their
   mean posterior is q, the surest half of every class (then 70, 90, 100 %) are pseudo-labels, and the head is
   refitted to them with exemplars of the same total weight. Class-balanced selection: Zou et al., ECCV 2018 (arXiv
   1810.07911), section 3.3.
2. Student: LoRA with replay from the champion on, trained on the teacher's surest share of every class, the labels of
   the window three times among them. Without labels it becomes the teacher of the next student, three times.
3. Guard: answered shares that are more than 0.15 away from those expected (total variation) are a collapse, and
   decline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import softmax

from trimtab.features import Floats
from trimtab.labels import FEWEST_PER_CLASS
from trimtab.stats.label_shift import Doubles, Integers, total_variation
from workers.fit import FitReport, TrainingSet
from workers.remedies.head import Weighted, refit
from workers.remedies.lora import candidate_of, epochs_for, proposal_of, recipe_of, train
from workers.remedies.mixture import mixture_shares
from workers.remedies.variants import head_of
from workers.task import Declined, Proposal, Task

NAME = "self_training"
MIN_TEXTS = 200
MIN_EXEMPLARS = 20  # of every class
MAX_EXEMPLARS = 600
ROUNDS = (0.5, 0.7, 0.9, 1.0)  # of the head: share of every class that is taken for known
STUDENTS = (0.5, 0.7, 0.8)  # the same of the students that learn without labels
TAUGHT_STUDENT = (0.8,)  # with labels one is enough
LABELLED_TIMES = 3
MAX_AWAY = 0.15
MATCHING_STEPS = 300


@dataclass(frozen=True)
class Teacher:
    """(n, k) logits of the texts without a label, and the (k,) shares that the classes are taken to have there."""

    logits: Doubles
    shares: Doubles


@dataclass(frozen=True)
class Student:
    """Files of a LoRA and a head, its (n, k) logits of the texts without a label, and what the last fit did."""

    files: dict[str, bytes]
    logits: Doubles
    fitted: FitReport


def propose_self_training(task: Task) -> Proposal | Declined:
    """The champion's LoRA and head, trained on pseudo-labels; it needs labels to be believed."""
    if len(task.unlabelled) < MIN_TEXTS:
        few = f"{len(task.unlabelled)} texts without a label are too few"
        return Declined(NAME, f"{few}: {MIN_TEXTS} are needed")
    labelled = _rarest(task.train.labels, task) >= FEWEST_PER_CLASS
    teacher = by_labels(task) if labelled else by_shares(task)
    if isinstance(teacher, Declined):
        return teacher
    student = taught(task, teacher, TAUGHT_STUDENT if labelled else STUDENTS)
    answered = np.bincount(student.logits.argmax(axis=1), minlength=len(task.labels)) / len(student.logits)
    away = total_variation(answered, teacher.shares)
    if away > MAX_AWAY:
        return Declined(NAME, f"it collapsed: its answers' shares are {away:.2f} away from those expected")
    return _proposal(task, student, {"shares": teacher.shares.tolist(), "answered": answered.tolist()})


def by_labels(task: Task) -> Teacher:
    """The champion's LoRA trained on the labels, as the remedy `lora` does; the shares are those that it answers."""
    files, _ = train(task, task.train, recipe_of(task))
    logits = candidate_of(task, files).answers.outputs(task.unlabelled).logits.astype(np.float64)
    return Teacher(logits, np.asarray(softmax(logits, axis=1).mean(axis=0)))


def by_shares(task: Task) -> Teacher | Declined:
    """The champion with a head that learnt from its own surest answers, at the shares that a mixture finds."""
    k, outputs = len(task.labels), task.champion.answers.outputs(task.unlabelled)
    rarest = _rarest(task.replay.labels, task)
    if rarest < MIN_EXEMPLARS:
        return Declined(NAME, f"{rarest} exemplars of a class are too few: {MIN_EXEMPLARS} are needed")
    shares = mixture_shares(outputs.pooled, outputs.logits.argmax(axis=1), k)
    if shares is None:
        return Declined(NAME, "the champion's answers do not show how many texts a class has")
    weight, bias = rounds(task, Teacher(outputs.logits.astype(np.float64), shares))
    return Teacher(np.asarray(outputs.pooled @ weight.T + bias, dtype=np.float64), shares)


def taught(task: Task, teacher: Teacher, students: tuple[float, ...]) -> Student:
    """The last student of a row, each of which learns from the one before; all start at the champion."""
    logits = teacher.logits
    for share in students:
        chosen, labels = pseudo_labels(logits, teacher.shares, share)
        rows = lesson(task, chosen, labels)
        epochs = epochs_for(len(rows.texts), at_least=1)
        files, fitted = train(task, rows, replace(recipe_of(task), epochs=epochs))
        logits = candidate_of(task, files).answers.outputs(task.unlabelled).logits.astype(np.float64)
    return Student(files, logits, fitted)


def lesson(task: Task, chosen: Integers, labels: Integers) -> TrainingSet:
    """The chosen texts with their pseudo-labels, and every labelled text three times."""
    texts = tuple(task.unlabelled[i] for i in chosen) + task.train.texts * LABELLED_TIMES
    return TrainingSet(texts, np.concatenate([labels, np.tile(task.train.labels, LABELLED_TIMES)]))


def rounds(task: Task, teacher: Teacher) -> tuple[Floats, Floats]:
    """(k, h) weight and (k,) bias of a head after the last round; every round starts at the champion's."""
    states = task.champion.answers.outputs(task.unlabelled).pooled
    logits = teacher.logits
    for share in ROUNDS:
        chosen, labels = pseudo_labels(logits, teacher.shares, share)
        new = Weighted(states[chosen], labels, np.ones(len(chosen)))
        weight, bias = refit(_joined(new, _exemplars(task, len(chosen))), *head_of(task))
        logits = np.asarray(states @ weight.T + bias, dtype=np.float64)
    return weight, bias


def pseudo_labels(logits: Doubles, shares: Doubles, kept: float) -> tuple[Integers, Integers]:
    """Of every class the share `kept` of its answers with the largest margins: (m,) row numbers, (m,) labels."""
    matched = match_shares(logits, shares)
    labels = matched.argmax(axis=1)
    ranked = np.sort(matched, axis=1)
    margins = ranked[:, -1] - ranked[:, -2]
    of_class = [np.flatnonzero(labels == label) for label in range(logits.shape[1])]
    chosen = np.concatenate(
        [rows[np.argsort(-margins[rows])][: round(kept * len(rows))] for rows in of_class]
    )
    return chosen, labels[chosen]


def match_shares(logits: Doubles, shares: Doubles) -> Doubles:
    """(n, k) logits with one offset a class under which the mean posterior is the (k,) shares."""
    moved = logits.copy()
    wanted = np.maximum(shares, 1e-6)
    for _ in range(MATCHING_STEPS):
        moved += np.log(wanted / np.maximum(softmax(moved, axis=1).mean(axis=0), 1e-12))
    return moved


def _proposal(task: Task, student: Student, told: Mapping[str, Any]) -> Proposal:
    how = f"LoRA learnt from {len(task.unlabelled)} texts without a label and {len(task.train.texts)} labels"
    return proposal_of(task, NAME, student.files, student.fitted, cost=6, reason=how, **told)


def _rarest(labels: Integers, task: Task) -> int:
    return int(np.bincount(labels, minlength=len(task.labels)).min())


def _exemplars(task: Task, total: int) -> Weighted:
    """At most 600 exemplars, that weigh as much together as `total` texts."""
    chosen = np.random.default_rng(task.seed).permutation(len(task.replay.texts))[:MAX_EXEMPLARS]
    states = task.champion.answers.outputs(task.replay.texts).pooled
    return Weighted(states[chosen], task.replay.labels[chosen], np.full(len(chosen), total / len(chosen)))


def _joined(one: Weighted, other: Weighted) -> Weighted:
    return Weighted(
        np.concatenate([one.states, other.states]),
        np.concatenate([one.labels, other.labels]),
        np.concatenate([one.weights, other.weights]),
    )
