"""Do neighbouring events resemble each other? Traffic comes in sessions, and then less is known than it seems.

Everything is measured on ranks, so that no scale and no outlier matters. Two signs count: neighbours are alike
(sessions one after the other), or means of stretches vary more than chance allows (many sessions interleaved).
"""

import numpy as np
from scipy.stats import chi2, norm, rankdata

from monitoring.histograms import Doubles, Floats

RARE = 5  # neighbours expected to be unusual both: with fewer, their number is no normal variable
STRETCH = 50  # events whose mean is compared with what independence allows
SURE = 0.999  # how sure both signs are together before traffic is called dependent
TIMES = 10  # stretches are this many integrated autocorrelation times long: their ends then bias little (Kuensch 1989)
_SOKAL = 5  # the sum of autocorrelations ends at this many integrated times


def lag_one(rows: Floats) -> float:
    """Largest lag-1 autocorrelation of the ranks of a feature; without dependence nearly always below `noise`."""
    return float(_autocorrelations(rows)[1].max()) if len(rows) > 1 else 0.0


def noise(n_rows: int, n_features: int) -> float:
    """What `lag_one` exceeds with probability (1 - SURE) / 2 without dependence: each correlation is N(0, 1/n)."""
    return float(norm.isf((1 - SURE) / 2 / n_features) / np.sqrt(n_rows))


def block_length(rows: Floats) -> int:
    """Events in a stretch that is nearly independent of the next one: 1 when no dependence shows, at most n/10.

    `TIMES` the largest integrated autocorrelation time 1 + 2 sum rho_k, the sum ended by Sokal's rule (1997, "Monte
    Carlo methods in statistical mechanics", section 3). That rule overlooks a memory that is weak but long, as of many
    sessions side by side; where long stretches vary more than the time explains, the stretch is as long as allowed.
    """
    n, d = len(rows), rows.shape[1]
    if n < 10 * STRETCH or not is_dependent(rows):
        return 1
    time = max(_integrated_time(each) for each in _autocorrelations(rows).T)
    explained = _variance_of_stretches(rows, n // 20) <= time * _expected(20, d)
    most = n // 10
    return min(round(TIMES * time), most) if explained else most


def is_dependent(rows: Floats) -> bool:
    """Whether (n, d) rows in order of time depend on each other beyond noise."""
    n, d = rows.shape
    return lag_one(rows) > noise(n, d) or _variance_of_stretches(rows, STRETCH) > _expected(n // STRETCH, d)


def _variance_of_stretches(rows: Floats, length: int) -> float:
    """Largest variance of the mean rank of stretches, as a multiple of what independent events have."""
    ranks = _standard_ranks(rows)[: len(rows) // length * length]
    means = ranks.reshape(-1, length, ranks.shape[1]).mean(axis=1)
    return float(means.var(axis=0, ddof=1).max() * length)


def _expected(n_stretches: int, n_features: int) -> float:
    free = n_stretches - 1
    return float(chi2.isf((1 - SURE) / 2 / n_features, free) / free)


def _autocorrelations(rows: Floats) -> Doubles:
    """(n, d) by lag, by the fast Fourier transform of the zero-padded ranks; 0 for constants."""
    ranks = _standard_ranks(rows)
    n = len(ranks)
    spectrum = np.fft.rfft(ranks, n=2 * n, axis=0)
    products = np.fft.irfft(np.abs(spectrum) ** 2, n=2 * n, axis=0)[:n]
    return np.asarray(products / n, dtype=np.float64)


def _standard_ranks(rows: Floats) -> Doubles:
    """Ranks with mean 0 and variance 1; NaN ranks with the largest; features that hardly ever vary are 0."""
    ranks = rankdata(np.where(np.isnan(rows), np.inf, rows), axis=0)
    unusual = (ranks != np.median(ranks, axis=0)).mean(axis=0)
    spread = np.where(len(rows) * unusual**2 < RARE, 0.0, ranks.std(axis=0))
    ranks[:, spread == 0.0] = 0.0
    return np.asarray((ranks - ranks.mean(axis=0)) / np.where(spread > 0, spread, 1.0), dtype=np.float64)


def _integrated_time(autocorrelation: Doubles) -> float:
    times = 2 * np.cumsum(autocorrelation) - 1
    enough = np.flatnonzero(np.arange(len(times)) >= _SOKAL * times)
    return max(1.0, float(times[enough[0]] if enough.size else times.max()))
