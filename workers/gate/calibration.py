"""Are the candidate's probabilities as true as the champion's? Expected calibration error, and likelihood.

Both versions get a temperature that is fitted on one half of the rows and judged on the other: how sure a version
says it is can be set later at no cost, how true its ranking of the texts is cannot.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from trimtab.stats.tango import Floats
from workers.gate.evidence import Integers, Rows
from workers.gate.verdict import Check, Result
from workers.remedies.temperature import fit_temperature

N_BINS = 15
SLACK, ALWAYS_ALLOWED = 0.02, 0.05  # ECE of the candidate: at most the champion's + 0.02, or 0.05
MAX_NLL_RATIO = 1.02
MIN_ROWS = 100
DRAWS, SEED = 2000, 7


def calibration(rows: Rows, alpha: float) -> Check:
    """Fails where the data show an ECE above the limit; a bootstrap tells, because an ECE is no mean."""
    if rows.n < MIN_ROWS:
        return _too_few("calibration", rows.n, ALWAYS_ALLOWED)
    gaps = [binned_gaps(_refitted(rows, each), rows.truth, rows.weight) for each in _versions(rows)]
    old, new = (float(np.abs(each.sum(axis=0)).sum() / rows.n) for each in gaps)
    limit = max(old + SLACK, ALWAYS_ALLOWED)
    bound = (new - limit) - _upper_error(gaps[0], gaps[1], new - limit, alpha)
    served = [ece(each, rows.truth, rows.weight) for each in _versions(rows)]
    return Check(
        name="calibration",
        result=Result.FAIL if bound > 0.0 else Result.PASS,
        value=new,
        limit=limit,
        bound=limit + bound,
        n=rows.n,
        detail=f"ECE {old:.4f} to {new:.4f} with a refitted temperature, {served[0]:.4f} to {served[1]:.4f} as served",
    )


def likelihood(rows: Rows, alpha: float) -> Check:
    """Fails where the data show a negative log-likelihood more than 2 % above the champion's."""
    if rows.n < MIN_ROWS:
        return _too_few("likelihood", rows.n, MAX_NLL_RATIO)
    at = np.arange(rows.n)
    old, new = (-_refitted(rows, each)[at, rows.truth] for each in _versions(rows))
    excess, weight = new - MAX_NLL_RATIO * old, rows.weight
    mean = float((weight * excess).mean())
    error = float(np.sqrt((weight**2 * (excess - mean) ** 2).sum())) / rows.n
    before, after = float((weight * old).mean()), float((weight * new).mean())
    shown = mean - float(norm.isf(alpha)) * error > 0.0
    return Check(
        name="likelihood",
        result=Result.FAIL if shown else Result.PASS,
        value=after / before if before else 1.0,
        limit=MAX_NLL_RATIO,
        n=rows.n,
        detail=f"{before:.4f} to {after:.4f} nats a text with a refitted temperature",
    )


def ece(log_probabilities: Floats, truth: Integers, weights: Floats) -> float:
    """Expected calibration error over 15 bins of equal mass, (n, k) log probabilities, (n,) weights of mean 1.

    Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI 2015; bins of equal mass: K. Nguyen, B. O'Connor, EMNLP 2015 (arXiv 1508.05154).
    """
    gaps = binned_gaps(log_probabilities, truth, weights)
    return float(np.abs(gaps.sum(axis=0)).sum() / len(truth))


def binned_gaps(log_probabilities: Floats, truth: Integers, weights: Floats) -> Floats:
    """(n, 15): weight * (confidence - right) of each row, in the column of its bin."""
    confidence = np.exp(log_probabilities.max(axis=1))
    right = log_probabilities.argmax(axis=1) == truth
    order = np.argsort(confidence, kind="stable")
    before = np.cumsum(weights[order]) - weights[order]
    bins = np.empty(len(truth), dtype=np.int64)
    bins[order] = np.minimum((before / weights.sum() * N_BINS).astype(np.int64), N_BINS - 1)
    gaps = np.zeros((len(truth), N_BINS))
    gaps[np.arange(len(truth)), bins] = weights * (confidence - right)
    return gaps


def _upper_error(old: Floats, new: Floats, found: float, alpha: float) -> float:
    """By how much the excess may be over-estimated: the bootstrap's upper quantile above what was found.

    Both versions on the same drawn rows. A bin's sum over drawn rows is close to normal, so the sums of all 30 bins are
    drawn rather than rows. The basic interval (Davison and Hinkley 1997, section 5.2), because an ECE of drawn rows is
    larger than that of the rows they are drawn from.
    """
    n, both = len(old), np.hstack([old, new])
    total = both.sum(axis=0)
    covariance = both.T @ both - np.outer(total, total) / n
    drawn = np.random.default_rng(SEED).multivariate_normal(total, covariance, size=DRAWS, method="svd")
    before, after = (np.abs(each).sum(axis=1) / n for each in np.split(drawn, 2, axis=1))
    excess = after - np.maximum(before + SLACK, ALWAYS_ALLOWED)
    return float(np.quantile(excess, 1.0 - alpha) - found)


def _versions(rows: Rows) -> tuple[Floats, Floats]:
    return rows.incumbent, rows.candidate


def _refitted(rows: Rows, log_probabilities: Floats) -> Floats:
    """The log probabilities with a temperature that is fitted on every second row and used on the others."""
    found = np.array(log_probabilities, dtype=np.float64)
    nothing = np.zeros(found.shape[1])
    for half in (np.arange(rows.n) % 2 == 0, np.arange(rows.n) % 2 == 1):
        temperature = fit_temperature(log_probabilities[~half], rows.truth[~half], nothing)
        scores = log_probabilities[half] / temperature
        found[half] = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return found


def _too_few(name: str, n: int, limit: float) -> Check:
    detail = f"{n} gate examples, {MIN_ROWS} are needed"
    return Check(name=name, result=Result.INSUFFICIENT, value=None, limit=limit, n=n, detail=detail)
