"""Which texts of a drifted window to ask labels for.

Everything that judges is drawn at random: the gate's and the selection's part of the split by hash get nothing else,
and at least half of the training part. A text's part depends on its hash alone, so a random text of a part is a
random text of the window, and what was chosen for being odd can never be judged by.

The rest of the training part goes, in this order, to classes that lack labels ("rare"), to what two versions answer
differently, to what the model is unsure of where there is much traffic (uncertainty times density, Settles and Craven
2008, spread out by k-centre greedy, Sener and Savarese 2018), and to confident answers, whose errors hide best.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trimtab.ledger.label_requests import Reason

NEAR = 0.98  # cosine of standardised features from which two texts count as the same
POOL = 3  # uncertain texts that are looked at for each one asked
CONFIDENT = 0.75  # quantile of the score above which an answer is a confident one
SHARES = {
    Reason.DISAGREEMENT: 0.4,
    Reason.UNCERTAIN: 0.4,
    Reason.CONFIDENT: 0.2,
}  # of what is not drawn at random

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """n >= 1 distinct texts of the window.

    Attributes:
        parts: Part of the split by hash.
        labels, scores: What was predicted, (n,) its probability.
        units: (n,) keyed hashes in [0, 1): the order in which texts are drawn at random.
        features: (n, d) rows as the monitor sees them.
        disputed: (n,) whether two versions answered differently.
        free: (n,) whether it may be asked for: not asked yet, without a label, kept for nothing else.
    """

    parts: tuple[str, ...]
    labels: tuple[str, ...]
    scores: Doubles
    units: Doubles
    features: Doubles
    disputed: NDArray[np.bool_]
    free: NDArray[np.bool_]

    def of(self, part: str) -> Integers:
        """Free texts of a part, in random order."""
        indices = np.flatnonzero(self.free & (np.array(self.parts, dtype=object) == part))
        return np.asarray(indices[np.argsort(self.units[indices])])


@dataclass
class _Choice:
    """What is chosen so far; `taken` holds what was asked before, too."""

    directions: Doubles
    taken: list[int]
    chosen: dict[int, Reason] = field(default_factory=dict)

    def take(self, indices: Iterable[int], reason: Reason) -> None:
        for index in map(int, indices):
            self.chosen[index] = reason
            self.taken.append(index)

    def take_new(self, order: Iterable[int], n: int, reason: Reason) -> int:
        """The first n in order that are not near to anything taken; returns how many there were."""
        before = len(self.chosen)
        for index in map(int, order):
            if len(self.chosen) - before >= n:
                break
            if index not in self.chosen and self.nearness(np.array([index]))[0] <= NEAR:
                self.take([index], reason)
        return len(self.chosen) - before

    def nearness(self, indices: Integers) -> Doubles:
        """(m,) largest cosine to anything taken; -1 while nothing is."""
        if not self.taken:
            return np.full(len(indices), -1.0)
        return np.asarray((self.directions[indices] @ self.directions[self.taken].T).max(axis=1))


def choose(
    candidates: Candidates, wanted: Mapping[str, int], short: Mapping[str, int], asked: Sequence[int] = ()
) -> dict[int, Reason]:
    """Texts to ask for, with the reason of each; fewer than wanted where the window has no more.

    Args:
        candidates: The window.
        wanted: How many by part ("train", "selection", "gate").
        short: Class -> how many more of the training part's texts should be of it.
        asked: Indices of texts that were asked for before: nothing near them is asked out of turn.
    """
    choice = _Choice(directions(candidates.features), list(asked))
    choice.take(candidates.of("gate")[: wanted.get("gate", 0)], Reason.GATE)
    choice.take(candidates.of("selection")[: wanted.get("selection", 0)], Reason.RANDOM)
    _choose_training(choice, candidates, wanted.get("train", 0), short)
    return choice.chosen


def directions(features: Doubles) -> Doubles:
    """(n, d) standardised rows of length one; columns that do not vary are left out."""
    spread = features.std(axis=0)
    varying = spread > 1e-12
    rows = (features[:, varying] - features[:, varying].mean(axis=0)) / spread[varying]
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _choose_training(choice: _Choice, candidates: Candidates, n: int, short: Mapping[str, int]) -> None:
    pool = candidates.of("train")
    n_odd = n // 2
    choice.take(pool[: n - n_odd], Reason.RANDOM)
    rest = pool[n - n_odd :]
    left = n_odd - _take_rare(choice, candidates, rest, n_odd, short)
    budgets = {reason: round(share * left) for reason, share in SHARES.items()}
    disputed = rest[candidates.disputed[rest]]
    left -= choice.take_new(disputed, budgets[Reason.DISAGREEMENT], Reason.DISAGREEMENT)
    left -= _take_uncertain(choice, candidates, rest, min(left, budgets[Reason.UNCERTAIN]))
    sure = rest[candidates.scores[rest] >= np.quantile(candidates.scores, CONFIDENT)] if len(rest) else rest
    left -= choice.take_new(sure, min(left, budgets[Reason.CONFIDENT]), Reason.CONFIDENT)
    choice.take([index for index in map(int, rest) if index not in choice.chosen][:left], Reason.RANDOM)


def _take_rare(
    choice: _Choice, candidates: Candidates, pool: Integers, n: int, short: Mapping[str, int]
) -> int:
    """Texts that are predicted to be of a class that lacks labels, as far as those at random will not bring them."""
    expected, left = [candidates.labels[i] for i in choice.chosen if candidates.parts[i] == "train"], n
    for label in sorted(short, key=lambda each: (-short[each], each)):
        predicted = [int(index) for index in pool if candidates.labels[index] == label]
        lacking = short[label] - expected.count(label)
        left -= choice.take_new(predicted, min(left, max(0, lacking)), Reason.RARE)
    return n - left


def _take_uncertain(choice: _Choice, candidates: Candidates, pool: Integers, n: int) -> int:
    """Of the most informative ones, one after the other that which is farthest from all that is taken."""
    free = np.array([index for index in map(int, pool) if index not in choice.chosen], dtype=np.int64)
    density = choice.directions[free] @ choice.directions.mean(axis=0)  # the mean cosine to the window
    worth = (1.0 - candidates.scores[free]) * np.maximum(density - density.min(initial=0.0), 1e-6)
    best = free[np.argsort(-worth, kind="stable")[: POOL * n]]
    for taken in range(n):
        near = choice.nearness(best)
        if not len(best) or near.min() > NEAR:
            return taken
        farthest = int(near.argmin())
        choice.take([int(best[farthest])], Reason.UNCERTAIN)
        best = np.delete(best, farthest)
    return n
