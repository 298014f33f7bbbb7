"""The two paired tests: nothing was forgotten, something was gained."""

from __future__ import annotations

import math

from trimtab.settings import GateSettings
from trimtab.stats.gain import gain_power, superiority
from trimtab.stats.tango import PairedCounts, loss_bound, non_inferiority, power
from workers.gate.evidence import Paired
from workers.gate.verdict import Check, Result, not_passed
from workers.gate.wear import level, told

ENOUGH_POWER = (
    0.8  # a test that a good candidate passes less often than this says little when it is not passed
)
MOST_LABELS = 100_000  # beyond, nobody is told how many more would decide
WORTHWHILE_GAIN = 0.05  # the gain for which the power of the gain test is stated


def forgetting(pair: Paired, settings: GateSettings) -> Check:
    """Passes when the data exclude a loss of `max_forgetting` or more; says so when they could not have."""
    name, margin = f"forgetting:{pair.domain}", settings.max_forgetting
    if not pair.candidate.n:
        return Check(
            name=name, result=Result.INSUFFICIENT, value=None, limit=margin, n=0, detail="no gate set"
        )
    counts = pair.counts
    test = non_inferiority(counts, margin, settings.alpha)
    reached = power(int(counts.n), counts.discordance, margin, settings.alpha)
    shown = counts.loss >= margin and (
        reached >= ENOUGH_POWER or lowest_loss(counts, settings.alpha) >= margin
    )
    result = Result.PASS if test.passed else not_passed(shown=shown)
    detail, more = f"loss {counts.loss:+.4f}, at most {test.bound:+.4f}", None
    if result is Result.INSUFFICIENT:
        more = _more_labels(counts.n, test.bound - counts.loss, margin - counts.loss)
        detail += _told_more(more)
    return Check(
        name=name,
        result=result,
        value=counts.loss,
        limit=margin,
        bound=test.bound,
        n=pair.candidate.n,
        power=reached,
        detail=_told(pair, detail),
        against=pair.against,
        before=pair.incumbent.accuracy,
        after=pair.candidate.accuracy,
        more_labels=more,
    )


def gain(pair: Paired, settings: GateSettings, looks: int | None = 0) -> Check:
    """Passes when the gain is significant, at the level that earlier looks leave, and at least `min_gain`."""
    name, n = f"gain:{pair.domain}", pair.candidate.n
    alpha = level(settings.alpha, looks)
    if n < settings.min_n:
        detail = f"{n} labelled examples, {settings.min_n} are needed"
        return Check(
            name=name, result=Result.INSUFFICIENT, value=None, limit=settings.min_gain, n=n, detail=detail,
            more_labels=settings.min_n - n, looks=looks, level=alpha,
        )  # fmt: skip
    counts = pair.counts
    test = superiority(counts, settings.min_gain, alpha)
    discordance = max(counts.discordance, WORTHWHILE_GAIN)
    reached = gain_power(int(counts.n), discordance, WORTHWHILE_GAIN, settings.min_gain, alpha)
    # No gain is shown where even the upper bound of the gain would not be worth a new version.
    shown = test.gain < settings.min_gain and -lowest_loss(counts, alpha) < WORTHWHILE_GAIN
    result = Result.PASS if test.passed else not_passed(shown=shown)
    detail, more = f"gain {test.gain:+.4f}, at least {test.bound:+.4f}", None
    if result is Result.INSUFFICIENT:
        # More labels are tested by a job to come, at the level that is left then.
        half_width = test.gain + loss_bound(counts, level(alpha, 1))
        more = _more_labels(counts.n, half_width, test.gain)
        detail += _told_more(more)
    return Check(
        name=name,
        result=result,
        value=test.gain,
        limit=settings.min_gain,
        bound=test.bound,
        n=n,
        power=reached,
        detail=_told(pair, detail) + told(looks, alpha),
        against=pair.against,
        before=pair.incumbent.accuracy,
        after=pair.candidate.accuracy,
        discordance=counts.discordance,
        more_labels=more,
        looks=looks,
        level=alpha,
    )


def lowest_loss(counts: PairedCounts, alpha: float) -> float:
    """Lower confidence bound of the loss, one-sided: by symmetry the upper bound with the roles exchanged."""
    return -loss_bound(PairedCounts(counts.n, counts.gained, counts.lost), alpha)


def _more_labels(n: float, half_width: float, distance: float) -> int | None:
    """How many more labels would decide at this estimate: an interval narrows with the root of n. None: too many."""
    more = math.inf if distance <= 0.0 else n * ((half_width / distance) ** 2 - 1.0)
    return math.ceil(more) if more <= MOST_LABELS else None


def _told_more(more: int | None) -> str:
    if more is None:
        return "; the labels do not say yet"
    return f"; about {more} more labels would decide at this estimate"


def _told(pair: Paired, result: str) -> str:
    counts, before, after = (
        pair.raw_counts,
        pair.incumbent.balanced_accuracy,
        pair.candidate.balanced_accuracy,
    )
    weighted = (
        "" if pair.weights is None else f"weighted to today's classes, worth {pair.counts.n:.0f} examples; "
    )
    return (
        f"{result} against {pair.against} ({weighted}of {counts.n:.0f}: {counts.lost:.0f} lost, "
        f"{counts.gained:.0f} gained; balanced accuracy {before:.4f} to {after:.4f})"
    )
