"""What the gate looks at: plain numbers and vectors, so that a study can make them up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trimtab.stats.tango import Bools, Floats, PairedCounts, paired_counts, weighted_counts
from workers.evaluate import Scorecard
from workers.health import Health
from workers.poisoning import DataReport

Integers = npt.NDArray[np.int64]


class Purpose(StrEnum):
    """What a candidate is for: a base is asked for no gain, and the last two change no answer."""

    ACCURACY = "accuracy"
    BASE = "base"
    CONFIDENCE = "confidence"
    REFERENCES = "references"


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Incumbent and candidate on one gate set: scorecards over the same examples.

    Attributes:
        domain: Whose gate set it is.
        against: Such as "champion 1".
        weights: (n,) importance of each example, where the classes of today differ from the set's; None: all equal.
    """

    domain: str
    against: str
    incumbent: Scorecard
    candidate: Scorecard
    weights: Floats | None = None

    @property
    def counts(self) -> PairedCounts:
        """Who had right what the other had wrong; of weighted examples the table that says as much."""
        if self.weights is None:
            return self.raw_counts
        return weighted_counts(self.incumbent.right, self.candidate.right, self.weights)

    @property
    def raw_counts(self) -> PairedCounts:
        """The counts whatever the weights."""
        return paired_counts(self.incumbent.right, self.candidate.right)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Every gate example of every domain, as champion and candidate answer it.

    Attributes:
        truth: (n,) true label indices.
        incumbent, candidate: (n, k) log probabilities as served.
        groups: By kind ("class", "length", "client"): (n,) name of each example's group, "" for none.
        weights: (n,) importance of each example; None: all equal.
    """

    truth: Integers
    incumbent: Floats
    candidate: Floats
    groups: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)
    weights: Floats | None = None

    @property
    def n(self) -> int:
        return len(self.truth)

    @property
    def weight(self) -> Floats:
        """(n,), mean 1."""
        if self.weights is None:
            return np.ones(self.n)
        return np.asarray(self.weights / self.weights.mean(), dtype=np.float64)

    @cached_property
    def lost(self) -> Bools:
        """(n,) champion right, candidate wrong."""
        return self._right(self.incumbent) & ~self._right(self.candidate)

    @cached_property
    def gained(self) -> Bools:
        """(n,) champion wrong, candidate right."""
        return ~self._right(self.incumbent) & self._right(self.candidate)

    def _right(self, log_probabilities: Floats) -> Bools:
        return np.asarray(log_probabilities.argmax(axis=1) == self.truth)


@dataclass(frozen=True, kw_only=True)
class Update:
    """What the candidate adds to the champion's weights, beside what accepted versions added to theirs.

    Attributes:
        norm: Frobenius norm of the candidate's change of the encoder; 0: it is one that was accepted.
        cosine: Its mean cosine with the accepted changes.
        accepted_norms: Norms of the accepted changes.
        accepted_cosines: Mean cosine of each with the other accepted ones.
    """

    norm: float
    cosine: float
    accepted_norms: tuple[float, ...]
    accepted_cosines: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the gate looks at. What is None or empty was not looked at, and no check speaks of it.

    Attributes:
        problems: What is wrong with the files, in words; empty when nothing is.
        delta_norms: ||s B A||_F / ||W||_F per layer.
        parity: Largest difference of logits, merged against unmerged, over `n_parity` texts.
        past: Every past domain against the champion, and against the versions that were first accepted on it.
        gain: The new domain against the champion.
        rows: All gate examples together.
        data: The labelled rows of the training part.
        learns: Whether the candidate was made with them; else they only may enter the memory.
        update: The change of the weights beside accepted ones.
        uses: By domain: how often its gate set has decided before.
        looks: Earlier jobs that tested labels of the same window; None: the gain is told by a past domain's set.
        purpose: What it is for; the rest is of candidates that change no answer:
        changed: Names of its files that answer and are not the champion's.
        health: What labels say of the champion on the window.
        by_domain: The rows of each domain, the new one's too.
    """

    delta_norms: Mapping[str, float]
    parity: float
    n_parity: int
    past: tuple[Paired, ...]
    gain: Paired
    problems: tuple[str, ...] = ()
    rows: Rows | None = None
    data: DataReport | None = None
    learns: bool = True
    update: Update | None = None
    uses: Mapping[str, int] = field(default_factory=dict)
    looks: int | None = 0
    purpose: Purpose = Purpose.ACCURACY
    changed: frozenset[str] = frozenset()
    health: Health | None = None
    by_domain: Mapping[str, Rows] = field(default_factory=dict)
