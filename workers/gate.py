"""The gate: does the candidate deserve to serve? Statistical tests on examples that were never trained on.

Any check that fails rejects; otherwise any check without enough data holds; otherwise the candidate is promoted.
Non-inferiority on every past domain needs no correction for their number: all must pass (intersection-union).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from trimtab.settings import GateSettings
from trimtab.stats.gain import gain_power, superiority
from trimtab.stats.tango import PairedCounts, loss_bound, non_inferiority, paired_counts, power
from workers.evaluate import Scorecard

MAX_PARITY = 1e-4  # largest difference of logits, merged against unmerged, fp32
MAX_DELTA_NORM = 0.5  # ||s B A||_F / ||W||_F of any layer
ENOUGH_POWER = (
    0.8  # a test that a good candidate passes less often than this says little when it is not passed
)
WORTHWHILE_GAIN = 0.05  # the gain for which the power of the gain test is stated


class Result(StrEnum):
    """Outcome of a check."""

    PASS = "pass"  # noqa: S105  # not a password
    FAIL = "fail"
    INSUFFICIENT = "insufficient_data"


class Decision(StrEnum):
    """Outcome of the gate."""

    PROMOTE = "promote"
    REJECT = "reject"
    HOLD = "hold"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: `value` is held against `limit`; for tests `bound` is the confidence bound that decides."""

    name: str
    result: Result
    value: float | None
    limit: float
    bound: float | None = None
    n: int | None = None
    power: float | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Incumbent and candidate on one gate set: scorecards over the same examples."""

    domain: str
    against: str  # such as "champion 1"
    incumbent: Scorecard
    candidate: Scorecard

    @property
    def counts(self) -> PairedCounts:
        """Who had right what the other had wrong."""
        return paired_counts(self.incumbent.right, self.candidate.right)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the gate looks at."""

    delta_norms: Mapping[str, float]  # ||s B A||_F / ||W||_F per layer
    parity: float
    n_parity: int
    past: tuple[Paired, ...]
    gain: Paired


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The gate's word, with every check."""

    decision: Decision
    reason: str
    checks: tuple[Check, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON object, as in gate.json and the job's verdict."""
        return {
            "verdict": self.decision.value,
            "reason": self.reason,
            "checks": [asdict(c) for c in self.checks],
        }


def gate(evidence: Evidence, settings: GateSettings) -> Verdict:
    """Runs every check and decides; `mode` hold never promotes, off promotes whatever is sound as an artefact."""
    artefact = (_integrity(evidence), _parity(evidence))
    tests = tuple(_forgetting(pair, settings) for pair in evidence.past)
    checks = (*artefact, *tests, _gain(evidence.gain, settings))
    if settings.mode == "off" and all(check.result is Result.PASS for check in artefact):
        return Verdict(
            decision=Decision.PROMOTE, reason="TRIMTAB_GATE__MODE is off: tests not heeded", checks=checks
        )
    decision, reason = _decide(checks)
    if settings.mode == "hold" and decision is Decision.PROMOTE:
        decision, reason = Decision.HOLD, "every check passed; TRIMTAB_GATE__MODE is hold: a person promotes"
    return Verdict(decision=decision, reason=reason, checks=checks)


def _decide(checks: Sequence[Check]) -> tuple[Decision, str]:
    for result, decision in ((Result.FAIL, Decision.REJECT), (Result.INSUFFICIENT, Decision.HOLD)):
        found = [f"{check.name}: {check.detail}" for check in checks if check.result is result]
        if found:
            return decision, "; ".join(found)
    return Decision.PROMOTE, "every check passed"


def _integrity(evidence: Evidence) -> Check:
    layer, largest = max(evidence.delta_norms.items(), key=lambda item: item[1], default=("", 0.0))
    finite = bool(np.isfinite(list(evidence.delta_norms.values())).all())
    return Check(
        name="integrity",
        result=_passed(finite and largest <= MAX_DELTA_NORM),
        value=largest if finite else None,
        limit=MAX_DELTA_NORM,
        detail=f"largest relative change of a layer: {layer}" if finite else "a weight is not finite",
    )


def _parity(evidence: Evidence) -> Check:
    return Check(
        name="parity",
        result=_passed(evidence.parity <= MAX_PARITY),
        value=evidence.parity if np.isfinite(evidence.parity) else None,
        limit=MAX_PARITY,
        n=evidence.n_parity,
        detail="largest difference of logits, merged against unmerged",
    )


def _forgetting(pair: Paired, settings: GateSettings) -> Check:
    """Passes when the data exclude a loss of `max_forgetting` or more; says so when they could not have."""
    name, margin = f"forgetting:{pair.domain}", settings.max_forgetting
    if not pair.candidate.n:
        return Check(
            name=name, result=Result.INSUFFICIENT, value=None, limit=margin, n=0, detail="no gate set"
        )
    counts = pair.counts
    test = non_inferiority(counts, margin, settings.alpha)
    reached = power(counts.n, counts.discordance, margin, settings.alpha)
    shown = counts.loss >= margin and (
        reached >= ENOUGH_POWER or lowest_loss(counts, settings.alpha) >= margin
    )
    result = Result.PASS if test.passed else _not_passed(shown=shown)
    detail = f"loss {counts.loss:+.4f}, at most {test.bound:+.4f}"
    if result is Result.INSUFFICIENT:
        detail += _enough(counts.n, test.bound - counts.loss, margin - counts.loss)
    return Check(
        name=name,
        result=result,
        value=counts.loss,
        limit=margin,
        bound=test.bound,
        n=counts.n,
        power=reached,
        detail=_told(pair, detail),
    )


def _gain(pair: Paired, settings: GateSettings) -> Check:
    """Passes when the gain is significant and at least `min_gain`."""
    name, n = f"gain:{pair.domain}", pair.candidate.n
    if n < settings.min_n:
        detail = f"{n} labelled examples, {settings.min_n} are needed"
        return Check(
            name=name, result=Result.INSUFFICIENT, value=None, limit=settings.min_gain, n=n, detail=detail
        )
    counts = pair.counts
    test = superiority(counts, settings.min_gain, settings.alpha)
    discordance = max(counts.discordance, WORTHWHILE_GAIN)
    reached = gain_power(n, discordance, WORTHWHILE_GAIN, settings.min_gain, settings.alpha)
    # No gain is shown where even the upper bound of the gain would not be worth a new version.
    shown = test.gain < settings.min_gain and -lowest_loss(counts, settings.alpha) < WORTHWHILE_GAIN
    result = Result.PASS if test.passed else _not_passed(shown=shown)
    detail = f"gain {test.gain:+.4f}, at least {test.bound:+.4f}"
    if result is Result.INSUFFICIENT:
        detail += _enough(n, test.gain - test.bound, test.gain)
    return Check(
        name=name,
        result=result,
        value=test.gain,
        limit=settings.min_gain,
        bound=test.bound,
        n=n,
        power=reached,
        detail=_told(pair, detail),
    )


def lowest_loss(counts: PairedCounts, alpha: float) -> float:
    """Lower confidence bound of the loss, one-sided: by symmetry the upper bound with the roles exchanged."""
    return -loss_bound(PairedCounts(counts.n, counts.gained, counts.lost), alpha)


def _not_passed(*, shown: bool) -> Result:
    """A check that is not passed fails only where the data show that it should; else more labels would decide."""
    return Result.FAIL if shown else Result.INSUFFICIENT


def _enough(n: int, half_width: float, distance: float) -> str:
    """How many labels would decide at this estimate: an interval narrows with the root of n."""
    if distance <= 0.0:
        return "; the labels do not say yet"
    return (
        f"; about {math.ceil(n * (half_width / distance) ** 2) - n} more labels would decide at this estimate"
    )


def _told(pair: Paired, result: str) -> str:
    counts, before, after = pair.counts, pair.incumbent.balanced_accuracy, pair.candidate.balanced_accuracy
    return (
        f"{result} against {pair.against} (of {counts.n}: {counts.lost} lost, {counts.gained} gained; "
        f"balanced accuracy {before:.4f} to {after:.4f})"
    )


def _passed(sound: bool) -> Result:
    return Result.PASS if sound else Result.FAIL
