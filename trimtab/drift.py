"""What the monitor says: one report a check, one state a model.

Plain frozen data that more than one process reads: the monitor writes it, the ledger keeps it, the API shows it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache

from pydantic import TypeAdapter

from trimtab.watch import Watch


class DriftState(StrEnum):
    """Where a model stands with its inputs; `meaning` is the sentence shown to people."""

    COLLECTING = "collecting"
    CALIBRATING = "calibrating"
    OK = "ok"
    KNOWN = "known"
    SUSPECT = "suspect"
    DRIFTING = "drifting"
    ACKNOWLEDGED = "acknowledged"
    ADAPTING = "adapting"
    COOLDOWN = "cooldown"
    NEEDS_HUMAN = "needs_human"

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return _MEANINGS[self]


_MEANINGS = {
    DriftState.COLLECTING: "No full window of the serving version's traffic yet, or no reference: alarms are off.",
    DriftState.CALIBRATING: "Thresholds are being simulated; safe ones, slower to alarm, hold until then.",
    DriftState.OK: "The window looks like a domain that the serving version was accepted on.",
    DriftState.KNOWN: "The window is a mixture of accepted domains: nothing to learn, no job.",
    DriftState.SUSPECT: "An alarm that no second check has confirmed yet, or that is too small to act on.",
    DriftState.DRIFTING: "A confirmed alarm of a size worth acting on.",
    DriftState.ACKNOWLEDGED: "An operator accepted this drift: quiet until it grows or proves harmful.",
    DriftState.ADAPTING: "An adaptation job is open.",
    DriftState.COOLDOWN: "Drifting, but the last adaptation is too recent to start another.",
    DriftState.NEEDS_HUMAN: "Adaptations in a row did not help: none is started until an operator acts.",
}


class DriftKind(StrEnum):
    """What happened, as far as it can be told; `meaning` and `action` are sentences for people."""

    COVARIATE_BENIGN = "covariate_benign"
    COVARIATE_HARMFUL = "covariate_harmful"
    LABEL_SHIFT = "label_shift"
    CONCEPT = "concept"
    VOCABULARY = "vocabulary"
    SOURCE = "source"

    @property
    def meaning(self) -> str:
        """What it is."""
        return _KINDS[self][0]

    @property
    def action(self) -> str:
        """What follows from it."""
        return _KINDS[self][1]


_KINDS = {
    DriftKind.COVARIATE_BENIGN: (
        "The inputs changed; no harm beyond the stated bound is visible, and estimates understate harm.",
        "An adaptation job looks for something to gain; labels would settle whether it hurts.",
    ),
    DriftKind.COVARIATE_HARMFUL: (
        "The inputs changed and the model is estimated or known to be worse on them.",
        "An adaptation job opens; label requests name the texts that matter.",
    ),
    DriftKind.LABEL_SHIFT: (
        "The classes come in other shares; within a class the inputs look the same.",
        "The prior is corrected; nothing need be trained.",
    ),
    DriftKind.CONCEPT: (
        "Labels say that the model errs more often on inputs that look the same.",
        "An adaptation job opens and trains with labels only: pseudo-labels would teach the old concept.",
    ),
    DriftKind.VOCABULARY: (
        "Another script or unknown tokens moved more than any other feature.",
        "An adaptation job opens; a tokenizer that does not know the words limits what it can gain.",
    ),
    DriftKind.SOURCE: (
        "One client of several accounts for the change.",
        "A person is paged and nothing is trained: one client's traffic must not teach the model.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """How far one monitored feature moved.

    Attributes:
        name: Name of the feature (`FeatureMap.names`).
        ks: Exact two-sample Kolmogorov-Smirnov D in [0, 1] against the hypothesis' rows (`scipy.stats.ks_2samp`).
        p_value: Of that test alone: a description, not adjusted for the features or for repeated looks.
        share: Of the energy (sum of squared D over all features).
        edges: The 15 inner edges of the 16 bins of `before` and `after`.
        before, after: Share of the reference's and of the window's values in each bin; each sums to 1.
    """

    name: str
    ks: float
    p_value: float | None = None
    share: float = 0.0
    edges: tuple[float, ...] = ()
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ArmStatistic:
    """One statistic and the value above which it is an alarm (same unit); low, high: the threshold's interval."""

    name: str
    statistic: float
    threshold: float
    low: float | None = None
    high: float | None = None

    @property
    def ratio(self) -> float:
        """Statistic over threshold; above 1 is an alarm."""
        return self.statistic / self.threshold

    @property
    def alarm(self) -> bool:
        """Whether the threshold is crossed."""
        return self.statistic > self.threshold


@dataclass(frozen=True, kw_only=True)
class Harm:
    """Accuracy estimated without labels; it understates harm, which `note` says with its reason.

    drop: reference_accuracy - estimated_accuracy (CBPE); drop_low: its lower bound. atc_accuracy: by ATC.
    n_reference: labelled reference rows that the estimate was calibrated on; n_events: events that it speaks of.
    """

    reference_accuracy: float
    estimated_accuracy: float
    drop: float
    drop_low: float
    atc_accuracy: float
    n_reference: int
    note: str
    n_events: int = 500


@dataclass(frozen=True, kw_only=True)
class LabelledRisk:
    """The sequential test on labelled traffic: accuracy over its newest n labels; statistic, threshold: log10 of M."""

    accuracy: float
    n: int
    reference_accuracy: float
    statistic: float
    threshold: float
    alarm: bool
    drop_low: float


@dataclass(frozen=True, kw_only=True)
class LabelShiftFound:
    """Class shares before and after as BBSE sees them; `explains`: reweighting leaves nothing above a threshold.

    total_variation: between the two, in [0, 1]. residual: energy over threshold once the reference is reweighted.
    """

    prior_before: Mapping[str, float]
    prior_after: Mapping[str, float]
    total_variation: float
    residual: float
    explains: bool


@dataclass(frozen=True, kw_only=True)
class Share:
    """A client's or domain's share of the window, and of the events in it that look new; before: in the reference."""

    name: str
    share: float
    share_new: float
    share_before: float | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why it is drift, kept with every alarm. No texts: ids and keys, resolved while the ledger keeps the texts.

    Attributes:
        features: The features with the largest share of the energy.
        unexplained_share: Estimated share of the window that no known domain explains; unexplained_low: its bound.
        separability: Cross-fitted AUC of a linear discriminant of the window against what is known (0.5: none).
        typical_new: Prediction ids of the inputs that look least like what is known.
        nearest_old: Keys of the reference texts nearest to those.
        clients, domains: The largest shares.
    """

    features: tuple[FeatureDrift, ...] = ()
    unexplained_share: float = 0.0
    unexplained_low: float = 0.0
    separability: float = 0.5
    typical_new: tuple[str, ...] = ()
    nearest_old: tuple[str, ...] = ()
    clients: tuple[Share, ...] = ()
    domains: tuple[Share, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """The outcome of one check of one window.

    Attributes:
        id: Derived from model, version and last sample (`report_id`): the same check repeated has the same id.
        model: Name of the model.
        version: The version that answered every sample of the window.
        created_at: Epoch seconds.
        first_seq, last_seq: Ledger sequence numbers of the short window's oldest and newest sample.
        n_window: Samples in the short window.
        events_seen: Samples of this model seen so far, all versions.
        state: The state after this check.
        arms: Statistics with their thresholds; any above its threshold makes `alarm`.
        features: The features that moved most, largest first (binned D, without histograms).
        max_ks: Largest D over all features against the hypothesis that explains the window best: the effect size.
        alarm: Some arm is above its threshold.
        actionable: An alarm of a size worth acting on: effect, estimated or labelled drop, or unexplained share.
        harmful: The estimated or labelled drop of accuracy is beyond the tolerance.
        calibrated: False while the safe threshold stands in for the simulated one.
        nearest: The accepted domain nearest to the window, or "mixture".
        mixture: Weight of each accepted domain in the hypothesis (sums to 1).
        change_from_seq: Estimated first sample after the change; None when there is no alarm.
        kind: Kind of drift; None without an alarm.
        severity: 0 none to 3.
        explanation: In words: what happened, whether it hurts, what follows, and why a job was or was not opened.
        job_id: The job that this report opened.
        harm: Accuracy estimated without labels; None with too few labelled reference rows.
        labelled: The test on labelled traffic; None without labels.
        label_shift, evidence: With an alarm only.
        anchor_ks: Largest D against the domains of version 1: slow drift that chains of adaptations would hide.
        dependence: Largest lag-1 rank autocorrelation over the features of the window.
        extrapolation: How many times rarer the promised false alarm is than the rarest simulated look.
    """

    id: str
    model: str
    version: int
    created_at: float
    first_seq: int
    last_seq: int
    n_window: int
    events_seen: int
    state: DriftState
    arms: tuple[ArmStatistic, ...]
    features: tuple[FeatureDrift, ...]
    max_ks: float
    alarm: bool
    actionable: bool
    calibrated: bool
    nearest: str
    mixture: Mapping[str, float] = field(default_factory=dict)
    change_from_seq: int | None = None
    kind: DriftKind | None = None
    harmful: bool = False
    severity: int = 0
    explanation: str = ""
    job_id: str | None = None
    harm: Harm | None = None
    labelled: LabelledRisk | None = None
    label_shift: LabelShiftFound | None = None
    evidence: Explanation | None = None
    anchor_ks: float = 0.0
    dependence: float = 0.0
    extrapolation: float = 0.0

    @property
    def ratio(self) -> float:
        """Largest statistic over threshold of all arms; 0 without arms."""
        return max((arm.ratio for arm in self.arms), default=0.0)

    def to_json(self) -> str:
        """JSON object with the attributes' names."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "DriftReport":
        """Read what `to_json` wrote; members of a newer release are ignored, those of an older one get defaults."""
        return _report_reader().validate_json(text)


@dataclass(frozen=True, kw_only=True)
class MonitorState:
    """What the monitor remembers of a model between two checks and over a restart.

    Attributes:
        model: Name of the model.
        version: Champion at the last tick; 0 when there is none.
        generation: Generation of the model at the last tick.
        state: See `DriftState`.
        since: Epoch seconds at which `state` was entered.
        events_seen: Samples of this model seen so far, all versions.
        alarms_total: Alarms raised so far: changes from quiet to a confirmed, actionable alarm.
        after_seq: Windows hold only samples after this one (set when the champion changes).
        consumed_seq: Newest sample that the statistics have taken in; 0 before the first.
        log_m: Log of the e-detector's M a feature and bet, flat, after that sample; empty before the first.
        checked_seq: Newest sample of the last check.
        checked_at: Epoch seconds of the last check.
        checked_event_at: Time of the newest sample of the last check, by the replica that answered it.
        checks: Checks of this version so far.
        consecutive: Actionable checks in a row.
        change_from_seq: Estimated first sample after the change, while there is an alarm.
        in_alarm: A confirmed alarm has not resolved yet (hysteresis).
        acknowledged_ratio: `size` of the drift that an operator accepted; None when nothing is.
        acknowledged_harm: It was known to be harmful.
        last_job_id: The newest job whose end was taken into account.
        cooldown_until: Epoch seconds before which no job is opened.
        unhelpful: Adaptations in a row that did not help.
        watching_version: Version on probation (its watch is not over); 0 when none.
        watch: How that version does so far; None before the first look at it.
        step_backs: Versions in a row that were stepped back from: each doubles the cooldown.
        reference_domains: Accepted domains of the champion's references.
        arms: Statistics of the last check.
        kind, harmful, severity: As in the last report.
        detail: One line for people: why this state.
    """

    model: str
    version: int = 0
    generation: int = 0
    state: DriftState = DriftState.COLLECTING
    since: float = 0.0
    events_seen: int = 0
    alarms_total: int = 0
    after_seq: int = 0
    consumed_seq: int = 0
    log_m: tuple[float, ...] = ()
    checked_seq: int = 0
    checked_at: float = 0.0
    checked_event_at: float = 0.0
    checks: int = 0
    consecutive: int = 0
    change_from_seq: int | None = None
    in_alarm: bool = False
    acknowledged_ratio: float | None = None
    acknowledged_harm: bool = False
    last_job_id: str | None = None
    cooldown_until: float = 0.0
    unhelpful: int = 0
    watching_version: int = 0
    watch: Watch | None = None
    step_backs: int = 0
    reference_domains: tuple[str, ...] = ()
    arms: tuple[ArmStatistic, ...] = ()
    kind: DriftKind | None = None
    harmful: bool = False
    severity: int = 0
    detail: str = ""

    @property
    def size(self) -> float:
        """Ratio of the short window, at least 1: the others grow with the time that a drift lasts, too."""
        short = [arm.ratio for arm in self.arms if arm.name == "short"]
        return max([1.0, *(short or [arm.ratio for arm in self.arms])])

    def to_json(self) -> str:
        """JSON object with the attributes' names."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "MonitorState":
        """Read what `to_json` wrote; members of a newer release are ignored, those of an older one get defaults."""
        return _state_reader().validate_json(text)


def report_id(model: str, version: int, last_seq: int) -> str:
    """24 hex digits that identify a check, so that saving it again after a crash adds nothing."""
    return hashlib.sha256(f"{model}\0{version}\0{last_seq}".encode()).hexdigest()[:24]


@cache
def _report_reader() -> TypeAdapter[DriftReport]:
    return TypeAdapter(DriftReport)


@cache
def _state_reader() -> TypeAdapter[MonitorState]:
    return TypeAdapter(MonitorState)
