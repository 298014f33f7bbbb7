"""Head refit: logistic regression on the champion's frozen states, with replay; convex, exact, seconds not minutes.

theta minimises  sum_i s_i CE(theta; x_i, y_i) + (lambda / 2) ||W - W_0||^2  with W_0 the champion's head: with few
labels the result stays near what is known, with many the labels decide (the maximum a posteriori estimate under a
normal prior around the old head). Weights s: 5 a new text, 1 an exemplar, each times its class's weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from trimtab.features import Floats
from trimtab.stats.label_shift import Doubles, Integers
from workers.objectives.supervised import class_weights
from workers.remedies.variants import head_of, with_head
from workers.task import Declined, Proposal, Task

NAME = "head"
MIN_PER_CLASS = 8
TARGET_WEIGHT = 5.0
L2 = 1.0  # times the mean squared norm of a state
MAX_STEPS = 300


@dataclass(frozen=True)
class Weighted:
    """Rows of a weighted logistic regression: (n, h) states, (n,) labels, (n,) weights."""

    states: Floats
    labels: Integers
    weights: Doubles


def propose_head(task: Task) -> Proposal | Declined:
    """The champion's encoder with a head that is fitted to the new labels and the exemplars."""
    counts = np.bincount(task.train.labels, minlength=len(task.labels))
    if counts.min() < MIN_PER_CLASS:
        rarest = task.labels[int(counts.argmin())]
        return Declined(NAME, f"{counts.min()} labels of {rarest!r} are too few: {MIN_PER_CLASS} are needed")
    rows = rows_of(task)
    weight, bias = refit(rows, *head_of(task))
    return Proposal(
        name=NAME,
        candidate=with_head(task, weight, bias),
        cost=4,
        reason=f"head refitted on frozen states: {len(task.train.texts)} labels, {len(task.replay.texts)} exemplars",
        details={"n": len(task.train.texts), "n_replay": len(task.replay.texts), "l2": L2},
    )


def rows_of(task: Task, target_weight: float = TARGET_WEIGHT) -> Weighted:
    """New labels and exemplars with their weights; every text is asked of the champion once."""
    parts = [(task.train.texts, task.train.labels, target_weight)]
    if task.replay.texts:
        parts.append((task.replay.texts, task.replay.labels, 1.0))
    states = [task.champion.answers.outputs(texts).pooled for texts, _, _ in parts]
    weights = [_class_balanced(labels, len(task.labels)) * each for _, labels, each in parts]
    return Weighted(
        np.concatenate(states), np.concatenate([labels for _, labels, _ in parts]), np.concatenate(weights)
    )


def refit(rows: Weighted, weight: Floats, bias: Floats, l2: float = L2) -> tuple[Floats, Floats]:
    """(k, h) weight and (k,) bias that minimise the penalised loss, from the old ones on (L-BFGS, double precision).

    States are centred, so that the bias, which is not penalised, is that of the mean state.
    """
    states = rows.states.astype(np.float64)
    centre = np.average(states, axis=0, weights=rows.weights)
    states = states - centre
    start = np.column_stack([weight, bias + weight @ centre]).astype(np.float64)
    design = np.column_stack([states, np.ones(len(states))])
    penalty = np.append(np.full(states.shape[1], l2 * float(np.square(states).sum(axis=1).mean())), 0.0)
    truth = np.eye(len(bias))[rows.labels]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        theta = parameters.reshape(start.shape)
        scores = log_softmax(design @ theta.T, axis=1)
        error = (np.exp(scores) - truth) * rows.weights[:, None]
        away = theta - start
        value = -(rows.weights[:, None] * truth * scores).sum() + (penalty / 2 * np.square(away)).sum()
        return float(value), (error.T @ design + penalty * away).ravel()

    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": MAX_STEPS})
    theta = found.x.reshape(start.shape)
    new_weight, new_bias = theta[:, :-1], theta[:, -1] - theta[:, :-1] @ centre
    return new_weight.astype(np.float32), new_bias.astype(np.float32)


def _class_balanced(labels: Integers, k: int) -> Doubles:
    """(n,) weights by effective number of samples, mean 1."""
    by_class = class_weights(np.bincount(labels, minlength=k).tolist()).numpy()
    return np.asarray(by_class[labels], dtype=np.float64)
