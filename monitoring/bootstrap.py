"""The detector's statistics on whole streams at once, and streams without drift drawn from a reference's own rows.

One draw redraws the reference (it is a sample, too) and one stream, both from the original rows, and scores every
look at the stream as the detector would. Whole rows are drawn, so that dependent features stay dependent; stretches of
neighbouring rows where traffic depends on itself in time (circular block bootstrap, Politis and Romano 1992).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.detector import Windows
from monitoring.e_detector import N_BETS, block_evidence, log_payoffs
from monitoring.histograms import BINS, Bins, Counts, Doubles, distribution

BURN_IN = 40  # blocks after which the e-detector has forgotten that it began with nothing

_UP_TO = np.triu(np.ones((BINS, BINS), dtype=np.float32))  # counts @ _UP_TO are running sums over bins


@dataclass(frozen=True)
class Scores:
    """The statistics of one stream at each look.

    Attributes:
        e_detector: log10 of the mean M, (looks,).
        short: Energy of the short window, (looks,).
        long: Energy of the long window, (looks,).
        growing: Whether some bet of the e-detector gained over the stream.
    """

    e_detector: Doubles
    short: Doubles
    long: Doubles
    growing: bool


def first_look(windows: Windows) -> int:
    """Blocks behind the first look of a stream: both windows are full, the e-detector has settled."""
    return max(BURN_IN, windows.long // windows.block)


def draw(bins: Bins, windows: Windows, n_blocks: int, length: int, random: np.random.Generator) -> Scores:
    """Score a stream of `n_blocks` blocks, drawn in stretches of `length` rows, against a redrawn reference.

    `bins` are the bin numbers of the original rows, (n, d).
    """
    n, d = bins.shape
    cells = bins + BINS * np.arange(d, dtype=np.int32)
    reference = count_blocks(cells[_rows(n, n, length, random)], 1)[0]
    counts = count_blocks(cells[_rows(n, n_blocks * windows.block, length, random)], n_blocks)
    return score(counts, distribution(reference), n, windows)


def score(counts: Counts, reference: Doubles, n_rows: int, windows: Windows) -> Scores:
    """Statistics after each block from `first_look` on, of blocks with counts (blocks, d, BINS).

    Equal to what a `Detector` of one domain reads, to single precision, but M has no ceiling; `reference` is the
    domain's distribution (d, BINS), known from `n_rows` rows.
    """
    begin = first_look(windows)
    singles = counts.astype(np.float32)
    evidence = block_evidence(singles, log_payoffs(reference, n_rows).astype(np.float32))
    sums = _running_sums(singles)
    short, long = (
        _energies(sums, reference, size // windows.block, begin, size)
        for size in (windows.short, windows.long)
    )
    return Scores(_e_detector(evidence)[begin - 1 :], short, long, bool(evidence.mean(axis=0).max() >= 0.0))


def count_blocks(cells: NDArray[np.int32], n_blocks: int) -> Counts:
    """(blocks, d, BINS) of consecutive blocks of rows, given (n, d) cell numbers: bin + BINS * feature."""
    d = cells.shape[1]
    offsets = d * BINS * np.arange(n_blocks, dtype=np.int32)[:, None]
    numbered = cells.reshape(n_blocks, -1) + offsets
    return np.bincount(numbered.ravel(), minlength=n_blocks * d * BINS).reshape(n_blocks, d, BINS)


def _rows(n: int, size: int, length: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Row numbers below n: single ones, or circular stretches."""
    starts = random.integers(n, size=math.ceil(size / length))
    return ((starts[:, None] + np.arange(length)) % n).ravel()[:size]


def _running_sums(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Events up to each bin in all blocks before each one, (blocks + 1, d, BINS); exact below 2^24 events."""
    sums = np.zeros((len(counts) + 1, *counts.shape[1:]), dtype=np.float32)
    np.matmul(counts, _UP_TO, out=sums[1:])
    for i in range(1, len(sums)):  # four times as fast as cumsum along axis 0
        sums[i] += sums[i - 1]
    return sums


def _energies(sums: NDArray[np.float32], reference: Doubles, n_blocks: int, begin: int, size: int) -> Doubles:
    """Energy of the windows of `n_blocks` blocks, `size` events, that end at block `begin` and after it."""
    gap = sums[begin:] - sums[begin - n_blocks : len(sums) - n_blocks]
    gap -= (size * reference).astype(np.float32)
    ks = np.abs(gap, out=gap).max(axis=-1) / size
    return np.asarray(np.square(ks, dtype=np.float64).sum(axis=-1))


def _e_detector(evidence: NDArray[np.float32]) -> Doubles:
    """log10 of the mean M after each block, from log E (blocks, d, N_BETS).

    The recursion M_b = (M_{b-1} + 1) E_b solved: M_b = exp(S_b) sum_{j <= b} exp(-S_{j-1}), S the sums of log E.
    """
    sums = np.cumsum(evidence.reshape(len(evidence), -1), axis=0, dtype=np.float64)
    before = np.vstack([np.zeros_like(sums[:1]), sums[:-1]])
    log_m = sums + np.logaddexp.accumulate(-before, axis=0)
    largest = log_m.max(axis=1)
    means = np.log(np.exp(log_m - largest[:, None]).sum(axis=1) / (evidence.shape[1] * N_BETS))
    return np.asarray((largest + means) / math.log(10))
