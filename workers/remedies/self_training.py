"""Class-balanced self-training: without a label, learn from the champion's own surest answers, on frozen states.

1. Teacher: the champion's logits, re-centred (W (m - m_d), workers.remedies.centre), because a domain's offset would
   make every pseudo-label of one class. The classes' shares q by calibrated EM on them; then once more with the mean m
   of exemplars weighted to q: centring takes a true difference of the shares for an offset. Only once: the shares and
   the offset explain each other, and repeated the estimate runs away (ADR 0019).
2. Rounds: the logits are offset until their mean posterior is q, the surest half of every class (then 70, 90, 100 %)
   are pseudo-labels, and the head is refitted to them with exemplars of the same total weight. Class-balanced
   selection: Zou et al., ECCV 2018 (arXiv 1810.07911), section 3.3.
3. Labels of the window, if there are some, take part with a weight of five.
4. Guard: predicted shares that are more than 0.15 away from q (total variation) are a collapse, and decline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from trimtab.adapter import REFERENCES
from trimtab.features import MAX_LABEL_FEATURES, Floats, References
from trimtab.stats.label_shift import Doubles, Integers, maximise_prior, total_variation
from workers.remedies.centre import SHRINK
from workers.remedies.head import TARGET_WEIGHT, Weighted, refit
from workers.remedies.prior import MIN_PER_CLASS, labelled_references
from workers.remedies.temperature import fit_bcts
from workers.remedies.variants import head_of, with_head
from workers.task import Declined, Proposal, Task

NAME = "self_training"
MIN_TEXTS = 200
MIN_EXEMPLARS = 20  # of every class
MAX_EXEMPLARS = 600
ROUNDS = (0.5, 0.7, 0.9, 1.0)  # share of every class that is taken for known
MAX_AWAY = 0.15
MATCHING_STEPS = 300


@dataclass(frozen=True)
class Calibration:
    """p(y | x) = softmax(z / temperature + bias) under the prior p(y); bias and prior are (k,)."""

    temperature: float
    bias: Doubles
    prior: Doubles


@dataclass(frozen=True)
class Teacher:
    """(n, k) logits of the texts without a label, and the (k,) shares that the classes are taken to have there."""

    logits: Doubles
    shares: Doubles


def propose_self_training(task: Task) -> Proposal | Declined:
    """The champion's encoder with a head that learnt from its own surest answers; it needs labels to be believed."""
    k, n = len(task.labels), len(task.unlabelled)
    if n < MIN_TEXTS:
        return Declined(NAME, f"{n} texts without a label are too few: {MIN_TEXTS} are needed")
    counts = np.bincount(task.replay.labels, minlength=k)
    if counts.min() < MIN_EXEMPLARS:
        return Declined(NAME, f"{counts.min()} exemplars of a class are too few: {MIN_EXEMPLARS} are needed")
    calibration = calibrate(task)
    if calibration is None:
        return Declined(NAME, "no labelled reference to calibrate on")
    teacher = teach(task, calibration)
    weight, bias = rounds(task, teacher)
    states = task.champion.answers.outputs(task.unlabelled).pooled
    answered = np.bincount((states @ weight.T + bias).argmax(axis=1), minlength=k) / n
    away = total_variation(answered, teacher.shares)
    if away > MAX_AWAY:
        return Declined(
            NAME, f"it collapsed: the shares of its answers are {away:.2f} away from those expected"
        )
    return Proposal(
        name=NAME,
        candidate=with_head(task, weight, bias),
        cost=5,
        reason=f"the head learnt from {n} texts without a label in {len(ROUNDS)} rounds, and from "
        f"{len(task.train.texts)} labels",
        details={"n": n, "shares": teacher.shares.tolist(), "answered": answered.tolist(), "rounds": ROUNDS},
    )


def calibrate(task: Task) -> Calibration | None:
    """On the labelled rows of all references that no gate set holds; None with fewer than ten of a class."""
    k = len(task.labels)
    if k > MAX_LABEL_FEATURES:
        return None
    references = References.from_bytes(task.champion.files[REFERENCES])
    known = labelled_references(references, k, task.held_out)
    truth = np.concatenate([each.truth for each in known]) if known else np.empty(0, dtype=np.int64)
    counts = np.bincount(truth, minlength=k)
    if counts.min() < MIN_PER_CLASS:
        return None
    temperature, bias = fit_bcts(np.concatenate([each.log_probs for each in known]), truth)
    return Calibration(temperature, bias, counts / counts.sum())


def teach(task: Task, calibration: Calibration) -> Teacher:
    """The re-centred champion on the texts without a label."""
    answers, k = task.champion.answers, len(task.labels)
    outputs = answers.outputs(task.unlabelled)
    exemplars = answers.outputs(task.replay.texts).pooled
    means = np.array([exemplars[task.replay.labels == label].mean(axis=0) for label in range(k)])
    weight, _ = head_of(task)
    kept = len(task.unlabelled) / (len(task.unlabelled) + SHRINK)
    logits, shares = outputs.logits.astype(np.float64), calibration.prior
    for _ in range(2):
        offset = weight @ (shares @ means - outputs.pooled.mean(axis=0)) * kept
        logits = outputs.logits + offset
        calibrated = softmax(logits / calibration.temperature + calibration.bias, axis=1)
        shares = maximise_prior(np.asarray(calibrated, dtype=np.float64), calibration.prior)
    return Teacher(np.asarray(logits, dtype=np.float64), shares)


def rounds(task: Task, teacher: Teacher) -> tuple[Floats, Floats]:
    """(k, h) weight and (k,) bias after the last round; every round starts at the champion's head."""
    states = task.champion.answers.outputs(task.unlabelled).pooled
    logits, (weight, bias) = teacher.logits, head_of(task)
    fixed = list(_labelled(task))
    for share in ROUNDS:
        chosen, labels = pseudo_labels(logits, teacher.shares, share)
        rows = [
            Weighted(states[chosen], labels, np.ones(len(chosen))),
            *_exemplars(task, len(chosen)),
            *fixed,
        ]
        weight, bias = refit(_joined(rows), *head_of(task))
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


def _exemplars(task: Task, total: int) -> Iterator[Weighted]:
    """At most 600 exemplars, that weigh as much together as `total` texts."""
    chosen = np.random.default_rng(task.seed).permutation(len(task.replay.texts))[:MAX_EXEMPLARS]
    states = task.champion.answers.outputs(task.replay.texts).pooled
    yield Weighted(states[chosen], task.replay.labels[chosen], np.full(len(chosen), total / len(chosen)))


def _labelled(task: Task) -> Iterator[Weighted]:
    if task.train.texts:
        states = task.champion.answers.outputs(task.train.texts).pooled
        yield Weighted(states, task.train.labels, np.full(len(states), TARGET_WEIGHT))


def _joined(rows: list[Weighted]) -> Weighted:
    return Weighted(
        np.concatenate([each.states for each in rows]),
        np.concatenate([each.labels for each in rows]),
        np.concatenate([each.weights for each in rows]),
    )
