"""Paired superiority: is the candidate better than the incumbent on the same labelled examples?

One-sided, with the lower confidence bound of the gain from Tango's interval (see `tango`): the gain is the
negative of the loss, so its lower bound is the negative of the loss' upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import norm

from trimtab.stats.tango import Bools, Floats, PairedCounts, loss_bound, score, score_z, sum_over_tables


@dataclass(frozen=True)
class Superiority:
    """Result of the test of H0: gain <= 0 against H1: gain > 0, with a floor for the point estimate."""

    gain: float
    p_value: float
    bound: float  # lower confidence bound of the gain at one-sided level alpha
    passed: bool


def superiority(counts: PairedCounts, min_gain: float, alpha: float) -> Superiority:
    """Passes when the lower bound of the gain is above 0 and the gain itself at least `min_gain`."""
    gain = -counts.loss
    bound = -loss_bound(counts, alpha)
    p_value = float(norm.cdf(score_z(counts, 0.0)))
    return Superiority(gain=gain, p_value=p_value, bound=bound, passed=bound > 0.0 and gain >= min_gain)


def gain_power(n: int, discordance: float, true_gain: float, min_gain: float, alpha: float) -> float:
    """Probability that `superiority` passes when the true gain is `true_gain` (at most `discordance`)."""
    p_lost, p_gained = (discordance - true_gain) / 2.0, (discordance + true_gain) / 2.0
    if min(p_lost, p_gained) < 0.0 or discordance > 1.0:
        raise ValueError(f"a gain of {true_gain} cannot happen at discordance {discordance}")
    critical = float(norm.isf(alpha))

    def passes(lost: Floats, gained: Floats) -> Bools:
        enough = (gained - lost) >= min_gain * n
        return (score(lost, gained, n, 0.0) < -critical) & enough

    return sum_over_tables(n, p_lost, p_gained, passes)
