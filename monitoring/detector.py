"""The detector of one version: blocks of events in, readings of its statistics out.

Everything is a function of the counts of blocks, so the order of events inside a block, the replica that saw them and
a restart between blocks do not matter. Two windows slide by whole blocks; the e-detector takes a step a block.
"""

from collections import deque
from dataclasses import dataclass
from typing import Self

import numpy as np

from monitoring.e_detector import advance, log10_statistic, log_payoffs, start
from monitoring.histograms import (
    BINS,
    Bins,
    Counts,
    Doubles,
    Floats,
    bin_rows,
    count,
    energy,
    ks_binned,
)
from monitoring.mixture import (
    Hypothesis,
    KnownDomains,
    effective_rows,
    hypotheses,
    mix,
    mixture_weights,
)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Sizes in events; both windows are multiples of the block.

    Raises:
        ValueError: they are not, or the long window is shorter than the short one.
    """

    block: int = 50
    short: int = 500
    long: int = 2000

    def __post_init__(self) -> None:
        if self.block < 1 or self.short < self.block or self.short % self.block or self.long % self.block:
            raise ValueError(
                f"windows of {self.short} and {self.long} are no multiples of a block of {self.block}"
            )
        if self.long < self.short:
            raise ValueError(f"the long window ({self.long}) is shorter than the short one ({self.short})")


@dataclass(frozen=True)
class Look:
    """A window beside one hypothesis; `ks` is the binned D of each feature, (d,)."""

    hypothesis: Hypothesis
    ks: Doubles

    @property
    def energy(self) -> float:
        """Sum of squared D."""
        return energy(self.ks)

    @property
    def max_ks(self) -> float:
        """Largest D."""
        return float(self.ks.max())


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The statistics after some block; thresholds are not part of it.

    Attributes:
        e_detector: log10 of the mean M; -inf before the first block.
        short: One look a hypothesis; empty while the short window is not full.
        long: The same for the long window; None while it is not full.
    """

    e_detector: float
    short: tuple[Look, ...]
    long: tuple[Look, ...] | None


@dataclass(frozen=True)
class _Block:
    """Raw rows (n, d) and, for each feature, how many lie in each bin or below it, (d, BINS)."""

    rows: Floats
    up_to: Counts


class Detector:
    """Follows one stream of feature rows against what is known; about 1 MB for 43 features."""

    def __init__(self, known: KnownDomains, windows: Windows) -> None:
        self._known, self._windows = known, windows
        self._blocks: deque[_Block] = deque(maxlen=windows.long // windows.block)
        self._short, self._long = (np.zeros((known.n_features, BINS), dtype=np.int64) for _ in range(2))
        self._payoffs = log_payoffs(known.distributions[0], len(known.rows[0])).astype(np.float32)
        self._log_m = start(known.n_features)

    @classmethod
    def restore(cls, known: KnownDomains, windows: Windows, rows: Floats, log_m: Doubles) -> Self:
        """The detector as it was: `rows` are the newest events that it took, oldest first, at most `windows.long`.

        Raises:
            ValueError: rows or log M do not have the shape that they need.
        """
        if log_m.shape != start(known.n_features).shape or len(rows) > windows.long:
            raise ValueError(f"no state of this detector: {len(rows)} rows, log M of shape {log_m.shape}")
        restored = cls(known, windows)
        for block in restored._split(rows):
            restored._slide(block)
        restored._log_m = log_m.copy()
        return restored

    @property
    def n_events(self) -> int:
        """Events that the long window holds, at most `windows.long`."""
        return len(self._blocks) * self._windows.block

    @property
    def full(self) -> bool:
        """Whether the short window is full: before that there is nothing to say."""
        return self.n_events >= self._windows.short

    @property
    def log_m(self) -> Doubles:
        """State of the e-detector, (d, N_BETS)."""
        return self._log_m.copy()

    @property
    def rows(self) -> Floats:
        """Raw rows of the long window, oldest first, (n_events, d)."""
        if not self._blocks:
            return np.empty((0, self._known.n_features))
        return np.concatenate([block.rows for block in self._blocks])

    def take(self, rows: Floats) -> None:
        """Take (n, d) rows, oldest first.

        Raises:
            ValueError: n is no multiple of the block, or d is another number of features.
        """
        for block in self._split(rows):
            self._slide(block)
            counts = np.diff(block.up_to, axis=-1, prepend=block.up_to.dtype.type(0))
            self._log_m = advance(self._log_m, counts, self._payoffs_of(block.up_to))

    def read(self) -> Reading:
        """The statistics as they are now."""
        return Reading(
            e_detector=log10_statistic(self._log_m),
            short=self._looks(self._short, self._windows.short) if self.full else (),
            long=self._looks(self._long, self._windows.long) if self.n_events == self._windows.long else None,
        )

    def _split(self, rows: Floats) -> list[_Block]:
        size = self._windows.block
        if rows.ndim != 2 or rows.shape[1] != self._known.n_features or len(rows) % size:
            raise ValueError(f"rows of shape {rows.shape} are no blocks of {size} x {self._known.n_features}")
        bins = bin_rows(self._known.edges, rows)
        return [self._block(rows[i : i + size], bins[i : i + size]) for i in range(0, len(rows), size)]

    def _block(self, rows: Floats, bins: Bins) -> _Block:
        return _Block(rows.copy(), np.cumsum(count(bins), axis=-1).astype(np.min_scalar_type(len(bins))))

    def _slide(self, block: _Block) -> None:
        n_short = self._windows.short // self._windows.block
        if len(self._blocks) >= n_short:
            self._short -= self._blocks[-n_short].up_to
        if len(self._blocks) == self._blocks.maxlen:
            self._long -= self._blocks[0].up_to
        self._blocks.append(block)
        self._short += block.up_to
        self._long += block.up_to

    def _payoffs_of(self, up_to: Counts) -> Floats:
        """With several domains a block is bet on against their mixture that fits it best: that only shrinks bets."""
        if len(self._known.names) == 1:
            return self._payoffs
        weights = mixture_weights(self._known, up_to / self._windows.block)
        return log_payoffs(mix(self._known, weights), effective_rows(self._known, weights))

    def _looks(self, up_to: Counts, size: int) -> tuple[Look, ...]:
        window = up_to / size
        candidates = hypotheses(self._known, window)
        return tuple(Look(each, ks_binned(window, each.distribution)) for each in candidates)
