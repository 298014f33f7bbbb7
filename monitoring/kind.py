"""What kind of drift it is, how severe, and what people are told: a pure function of the evidence.

| evidence | kind |
|---|---|
| the inputs changed, and one of several clients accounts for it | source |
| the labels arm fires, the inputs are quiet | concept |
| reweighting the classes leaves nothing to explain | label shift |
| unknown tokens or a script moved more than anything else | vocabulary |
| inputs changed, and the model is estimated or known to be worse | covariate, harmful |
| inputs changed, and no harm is visible | covariate, benign |
"""

import math
from dataclasses import dataclass

from trimtab.drift import DriftKind, Harm, LabelledRisk, LabelShiftFound, Share

MOST = 0.5  # share of the traffic like nothing known above which estimates of accuracy extrapolate
UNDERSTATED = 0.5  # estimates showed 30 to 70 % of the harm there was: half of a drop stands for all of it
ATC_SURE = 1.645  # standard normal quantile: 95 %, one-sided
EFFECTS = (0.1, 0.2, 0.4)  # largest D of severity 1, 2, 3
DROPS = (0.01, 0.03, 0.10)  # accuracy
SHARES = (0.05, 0.25, 0.50)  # of the traffic, unexplained
SEVERITY_WITHOUT_HARM = 2
EXTRAPOLATED = (
    " Most of this traffic is like nothing that accuracy was ever measured on: here they say little."
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of an alarm.

    Attributes:
        inputs: An arm on the inputs fired; else it was the labels arm alone.
        max_ks: Largest D.
        vocabulary_share: Share of the energy in `features.VOCABULARY_FEATURES`; vocabulary_ks: largest D there.
        unexplained_share, unexplained_low: Share of events like nothing known, and its lower bound.
        harm, labelled, label_shift: None where they cannot be told.
        source: The client that accounts for the change, if one does.
    """

    inputs: bool
    max_ks: float
    vocabulary_share: float = 0.0
    vocabulary_ks: float = 0.0
    unexplained_share: float = 0.0
    unexplained_low: float = 0.0
    harm: Harm | None = None
    labelled: LabelledRisk | None = None
    label_shift: LabelShiftFound | None = None
    source: Share | None = None


@dataclass(frozen=True)
class Judgement:
    """Kind, severity 0 to 3, whether harm is estimated or known from labels, and the sentences for people."""

    kind: DriftKind
    severity: int
    harmful: bool
    words: str


def judge(evidence: Evidence, *, max_accuracy_drop: float, min_effect: float = 0.1) -> Judgement:
    """The judgement of an alarm: some arm fired.

    Args:
        max_accuracy_drop: What accuracy may lose, in [0, 1].
        min_effect: The smallest D that counts.
    """
    harmful = labels_say_so(evidence) or estimates_say_so(evidence, max_accuracy_drop)
    kind = _kind(evidence, harmful, min_effect)
    words = " ".join((_what(kind, evidence), _whether_it_hurts(evidence), kind.action))
    return Judgement(kind, _severity(kind, evidence, harmful), harmful, words)


def labels_say_so(evidence: Evidence) -> bool:
    """The labels arm fired."""
    return evidence.labelled is not None and evidence.labelled.alarm


def estimates_say_so(evidence: Evidence, max_accuracy_drop: float) -> bool:
    """CBPE surely sees half of the drop that is tolerated, or ATC all of it beyond its noise."""
    harm = evidence.harm
    if harm is None:
        return False
    by_cbpe = harm.drop_low > 0 and harm.drop >= UNDERSTATED * max_accuracy_drop
    return by_cbpe or (atc_low(harm) > 0 and atc_drop(harm) >= max_accuracy_drop)


def atc_drop(harm: Harm) -> float:
    """What ATC takes accuracy to have lost."""
    return harm.reference_accuracy - harm.atc_accuracy


def atc_low(harm: Harm) -> float:
    """Lower 95 % bound of ATC's drop: a difference of two shares."""
    p, q = harm.atc_accuracy, harm.reference_accuracy
    return atc_drop(harm) - ATC_SURE * math.sqrt(p * (1 - p) / harm.n_events + q * (1 - q) / harm.n_reference)


def _kind(evidence: Evidence, harmful: bool, min_effect: float) -> DriftKind:
    if not evidence.inputs:
        return DriftKind.CONCEPT
    if evidence.source is not None:
        return DriftKind.SOURCE
    if evidence.label_shift is not None and evidence.label_shift.explains:
        return DriftKind.LABEL_SHIFT
    if evidence.vocabulary_ks >= max(evidence.max_ks, min_effect):
        return DriftKind.VOCABULARY
    return DriftKind.COVARIATE_HARMFUL if harmful else DriftKind.COVARIATE_BENIGN


def _severity(kind: DriftKind, evidence: Evidence, harmful: bool) -> int:
    """The largest grade of effect, drop and affected traffic; 3 is kept for harm, and for a single source."""
    if kind is DriftKind.SOURCE:
        return 3
    if kind is DriftKind.LABEL_SHIFT and not harmful:
        return 1
    grade = max(
        _grade(evidence.max_ks, EFFECTS),
        _grade(_largest_drop(evidence), DROPS),
        _grade(evidence.unexplained_share, SHARES),
    )
    return max(grade, SEVERITY_WITHOUT_HARM) if harmful else min(grade, SEVERITY_WITHOUT_HARM)


def _grade(value: float, bounds: tuple[float, ...]) -> int:
    return sum(value >= bound for bound in bounds)


def _largest_drop(evidence: Evidence) -> float:
    """Of the drops that are more than noise."""
    drops = [0.0]
    if evidence.harm is not None and evidence.harm.drop_low > 0:
        drops.append(evidence.harm.drop)
    if evidence.harm is not None and atc_low(evidence.harm) > 0:
        drops.append(atc_drop(evidence.harm))
    if evidence.labelled is not None and evidence.labelled.drop_low > 0:
        drops.append(evidence.labelled.reference_accuracy - evidence.labelled.accuracy)
    return max(drops)


def _what(kind: DriftKind, evidence: Evidence) -> str:
    if kind is DriftKind.SOURCE and evidence.source is not None:
        who = evidence.source
        return (
            f"{kind.meaning} {who.name!r} sent {who.share:.0%} of the window and {who.share_new:.0%} of what is new in "
            f"it; the others' traffic is as before."
        )
    if kind is DriftKind.CONCEPT:
        return kind.meaning
    if kind is DriftKind.LABEL_SHIFT and evidence.label_shift is not None:
        found = evidence.label_shift
        grown = max(found.prior_after, key=lambda label: found.prior_after[label] - found.prior_before[label])
        before, after = found.prior_before[grown], found.prior_after[grown]
        return f"{kind.meaning} {grown!r} went from {before:.0%} to {after:.0%}."
    if kind is DriftKind.VOCABULARY:
        return f"{kind.meaning} They carry {evidence.vocabulary_share:.0%} of the change."
    unknown = f", and at least {evidence.unexplained_low:.0%} of them are like nothing known"
    return f"The inputs changed (largest D {evidence.max_ks:.2f}{unknown if evidence.unexplained_low >= 0.01 else ''})."


def _whether_it_hurts(evidence: Evidence) -> str:
    by_labels = _by_labels(evidence.labelled) if evidence.labelled is not None else ""
    return " ".join(filter(None, (by_labels, _by_estimates(evidence))))


def _by_labels(found: LabelledRisk) -> str:
    against = f"accuracy is {found.accuracy:.2f} on the newest {found.n} labels, {found.reference_accuracy:.2f} before"
    if found.alarm:
        return f"Labels show harm: {against}; it lost at least {found.drop_low:.2f}."
    return f"Labels do not prove harm yet: {against}."


def _by_estimates(evidence: Evidence) -> str:
    harm = evidence.harm
    if harm is None:
        return "Without labels harm cannot be estimated: the reference has fewer than 100 labelled rows."
    by = f"{harm.estimated_accuracy:.2f} (CBPE) and {harm.atc_accuracy:.2f} (ATC), {harm.reference_accuracy:.2f} before"
    said = f"Without labels accuracy is estimated at {by}"
    if harm.drop_low > 0:
        return f"{said}: it likely lost at least {harm.drop_low:.2f}; {harm.note}."
    high = 2 * harm.drop - harm.drop_low
    change = f"a change of between {-high:+.2f} and {-harm.drop_low:+.2f}"
    unmeasured = EXTRAPOLATED if evidence.unexplained_low >= MOST else ""
    return f"{said}, {change}: no proof that it is harmless; {harm.note}.{unmeasured}"
