"""What the cells say: balanced accuracies after every step, and continual learning's figures, with intervals.

R[i, j] is the balanced accuracy on domain j's test set after i new domains, domains in the order in which they were
learnt (the source is 0). Intervals: a bootstrap over seeds, and within a seed over the groups of every test set; all
methods of a draw share it, so that differences are paired. With five seeds it is on the narrow side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.adaptation.data import Texts

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rows = Sequence[Mapping[str, Bools]]  # by step: which test texts of a domain were answered right
N_DRAWS = 1000


@dataclass(frozen=True)
class Figure:
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 1, scale: float = 100.0) -> str:
        """In points: "86.2 [85.4, 87.1]"."""
        value, low, high = (f"{scale * each:.{digits}f}" for each in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True, eq=False)
class Draws:
    """The test sets of a seed, drawn again and again: the first row of every (draws, n) counts is the set itself."""

    tests: Mapping[str, Texts]
    counts: Mapping[str, Doubles]

    def balanced(self, domain: str, right: Bools) -> Doubles:
        """(draws,) balanced accuracies."""
        labels, counts = self.tests[domain].labels, self.counts[domain]
        recalls = [
            counts[:, chosen] @ right[chosen] / np.maximum(counts[:, chosen].sum(axis=1), 1.0)
            for chosen in (labels == label for label in np.unique(labels))
        ]
        return np.asarray(np.mean(recalls, axis=0), dtype=np.float64)

    def share(self, domain: str, which: Bools) -> Doubles:
        """(draws,) shares of the texts."""
        counts = self.counts[domain]
        return np.asarray(counts @ which / counts.sum(axis=1), dtype=np.float64)


def draw(tests: Mapping[str, Texts], seed: int, n: int = N_DRAWS) -> Draws:
    """Groups of every test set with replacement, n times."""
    counts = {name: drawn_counts(test.groups, [seed, i], n) for i, (name, test) in enumerate(tests.items())}
    return Draws(tests, counts)


def drawn_counts(groups: Sequence[str], seed: Sequence[int], n: int) -> Doubles:
    """(n + 1, texts) how often a text is in a draw of its groups; every text once in the first row."""
    names, member = np.unique(np.array(groups), return_inverse=True)
    rng = np.random.default_rng(list(seed))
    drawn = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=n)
    return np.concatenate([np.ones((1, len(groups))), drawn[:, member]]).astype(np.float64)


def matrix(draws: Draws, rows: Rows, order: Sequence[str]) -> Doubles:
    """(draws, steps, domains) R; `order` with the source first."""
    steps = [np.stack([draws.balanced(name, row[name]) for name in order], axis=-1) for row in rows]
    return np.stack(steps, axis=1)


def flips(draws: Draws, rows: Rows, order: Sequence[str]) -> Doubles:
    """(draws,) share of a past domain's texts that were right before an update and wrong after, mean over both."""
    lost = [
        draws.share(name, rows[i - 1][name] & ~rows[i][name])
        for i in range(1, len(rows))
        for name in order[:i]
    ]
    return np.asarray(np.mean(lost, axis=0), dtype=np.float64)


def average(found: Doubles) -> Doubles:
    """Mean over domains after the last step: (..., steps, domains) -> (...)."""
    return np.asarray(found[..., -1, :].mean(axis=-1))


def at_last(domain: int) -> Callable[[Doubles], Doubles]:
    """The domain's balanced accuracy after the last step."""

    def of(found: Doubles) -> Doubles:
        return np.asarray(found[..., -1, domain])

    return of


def forgetting(found: Doubles) -> Doubles:
    """f_j = max over the versions before the last of R[l, j] - R[T, j], for domains before the last: (..., T).

    Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, equation 3 and the text after it. The
    maximum over noisy values is high by chance: what is forgotten is rather overstated.
    """
    return np.asarray(found[..., :-1, :-1].max(axis=-2) - found[..., -1, :-1])


def backward_transfer(found: Doubles) -> Doubles:
    """Mean of R[T, j] - R[j, j] over the domains before the last (Lopez-Paz & Ranzato, NeurIPS 2017, equation 3)."""
    own = np.diagonal(found, axis1=-2, axis2=-1)[..., :-1]
    return np.asarray((found[..., -1, :-1] - own).mean(axis=-1))


def forward_transfer(found: Doubles) -> Doubles:
    """Mean of R[j - 1, j] - b over the new domains (the same, equation 4); b = 1/2, an untrained head's."""
    before = np.diagonal(found, offset=1, axis1=-2, axis2=-1)
    return np.asarray(before.mean(axis=-1) - 0.5)


def learning_accuracy(found: Doubles) -> Doubles:
    """Mean of R[j, j] over the new domains: how well a domain is answered just after it was learnt."""
    return np.asarray(np.diagonal(found, axis1=-2, axis2=-1)[..., 1:].mean(axis=-1))


def summed_gain(found: Doubles) -> Doubles:
    """Sum over the new domains of R[T, j] - R[0, j]."""
    return np.asarray((found[..., -1, 1:] - found[..., 0, 1:]).sum(axis=-1))


def over_seeds(per_seed: Sequence[Doubles], seed: int = 0) -> Doubles:
    """Mean over seeds drawn with replacement; the first row is the mean over all of them.

    Args:
        per_seed: of every seed (draws + 1, ...) values; a seed drawn twice gives two of its draws.
    """
    values = np.stack(per_seed)
    n_seeds, n = values.shape[0], values.shape[1] - 1
    chosen = np.random.default_rng(seed).integers(n_seeds, size=(n, n_seeds))
    draws = 1 + (np.arange(n)[:, None] + np.arange(n_seeds)) % n
    return np.concatenate([values[:, :1].mean(axis=0), values[chosen, draws].mean(axis=1)])


def figure(values: Doubles) -> Figure:
    """The first value with the central 95 % of the others."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Figure(float(values[0]), float(low), float(high))


def summarised(per_seed: Sequence[Doubles], of: Callable[[Doubles], Doubles]) -> Figure:
    """A figure of every seed's matrix, averaged over the seeds."""
    return figure(over_seeds([of(found) for found in per_seed]))
