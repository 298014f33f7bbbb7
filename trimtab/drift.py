"""What the monitor says: one report a check, one state a model.

Plain frozen data that more than one process reads: the monitor writes it, the ledger keeps it, the API shows it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self


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
    DriftState.CALIBRATING: "Thresholds are being simulated; a safe asymptotic one is used until then.",
    DriftState.OK: "The window looks like a domain that the serving version was accepted on.",
    DriftState.KNOWN: "The window is a mixture of accepted domains: nothing to learn, no job.",
    DriftState.SUSPECT: "An alarm that no second check has confirmed yet, or that is too small to act on.",
    DriftState.DRIFTING: "A confirmed alarm of a size worth acting on.",
    DriftState.ACKNOWLEDGED: "An operator accepted this drift: quiet until the statistic grows further.",
    DriftState.ADAPTING: "An adaptation job is open.",
    DriftState.COOLDOWN: "Drifting, but the last adaptation is too recent to start another.",
    DriftState.NEEDS_HUMAN: "Adaptations in a row did not help: none is started until an operator acts.",
}


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """How far one monitored feature moved.

    Attributes:
        name: Name of the feature (`FeatureMap.names`).
        ks: Exact two-sample Kolmogorov-Smirnov D in [0, 1] against the nearest reference.
    """

    name: str
    ks: float


@dataclass(frozen=True, kw_only=True)
class ArmStatistic:
    """One statistic of the window and the value above which it is an alarm (same unit)."""

    name: str
    statistic: float
    threshold: float

    @property
    def ratio(self) -> float:
        """Statistic over threshold; above 1 is an alarm."""
        return self.statistic / self.threshold

    @property
    def alarm(self) -> bool:
        """Whether the threshold is crossed."""
        return self.statistic > self.threshold


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """The outcome of one check of one window.

    Attributes:
        id: Derived from model, version and last sample (`report_id`): the same check repeated has the same id.
        model: Name of the model.
        version: The version that answered every sample of the window.
        created_at: Epoch seconds.
        first_seq, last_seq: Ledger sequence numbers of the window's oldest and newest sample.
        n_window: Samples in the window.
        events_seen: Samples of this model seen so far, all versions.
        state: The state after this check.
        arms: Statistics with their thresholds; any above its threshold makes `alarm`.
        features: The features that moved most, largest first.
        max_ks: Largest D over all features against the nearest reference: the effect size.
        alarm: Some arm is above its threshold.
        actionable: `alarm` and `max_ks >= min_effect`.
        calibrated: False while the asymptotic threshold stands in for the simulated one.
        nearest: The accepted domain nearest to the window, or "mixture".
        mixture: Weight of each accepted domain in the best convex mixture (sums to 1).
        change_from_seq: Estimated first sample after the change; None when there is no alarm.
        kind: Kind of drift, when it is known.
        severity: 0 none, 1 / 2 / 3 for an effect of at least 0.1 / 0.2 / 0.4.
        explanation: One line for people, with the reason why a job was or was not opened.
        job_id: The job that this report opened.
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
    kind: str | None = None
    severity: int = 0
    explanation: str = ""
    job_id: str | None = None

    @property
    def ratio(self) -> float:
        """Largest statistic over threshold of all arms; 0 without arms."""
        return max((arm.ratio for arm in self.arms), default=0.0)

    def to_json(self) -> str:
        """JSON object with the attributes' names."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Unknown members (of a newer release) are ignored."""
        known = _known_members(cls, text)
        known["state"] = DriftState(known["state"])
        known["arms"] = tuple(ArmStatistic(**arm) for arm in known["arms"])
        known["features"] = tuple(FeatureDrift(**feature) for feature in known["features"])
        return cls(**known)


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
        checked_seq: Newest sample of the last check.
        checked_at: Epoch seconds of the last check.
        consecutive: Actionable checks in a row.
        change_from_seq: Estimated first sample after the change, while there is an alarm.
        in_alarm: A confirmed alarm has not resolved yet (hysteresis).
        acknowledged_ratio: Statistic over threshold that an operator accepted; None when nothing is.
        last_job_id: The newest job whose end was taken into account.
        cooldown_until: Epoch seconds before which no job is opened.
        unhelpful: Adaptations in a row that did not help.
        watching_version: Version on probation (its watch is not over); 0 when none.
        reference_domains: Accepted domains of the champion's references.
        arms: Statistics of the last check.
        kind, severity: As in the last report.
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
    checked_seq: int = 0
    checked_at: float = 0.0
    consecutive: int = 0
    change_from_seq: int | None = None
    in_alarm: bool = False
    acknowledged_ratio: float | None = None
    last_job_id: str | None = None
    cooldown_until: float = 0.0
    unhelpful: int = 0
    watching_version: int = 0
    reference_domains: tuple[str, ...] = ()
    arms: tuple[ArmStatistic, ...] = ()
    kind: str | None = None
    severity: int = 0
    detail: str = ""

    def to_json(self) -> str:
        """JSON object with the attributes' names."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Unknown members (of a newer release) are ignored."""
        known = _known_members(cls, text)
        known["state"] = DriftState(known.get("state", DriftState.COLLECTING))
        known["reference_domains"] = tuple(known.get("reference_domains", ()))
        known["arms"] = tuple(ArmStatistic(**arm) for arm in known.get("arms", ()))
        return cls(**known)


def report_id(model: str, version: int, last_seq: int) -> str:
    """24 hex digits that identify a check, so that saving it again after a crash adds nothing."""
    return hashlib.sha256(f"{model}\0{version}\0{last_seq}".encode()).hexdigest()[:24]


def severity_of(max_ks: float, *, actionable: bool) -> int:
    """0 when not actionable, else 1, 2, 3 for an effect (largest D) of at least 0 / 0.2 / 0.4."""
    if not actionable:
        return 0
    return 1 + sum(max_ks >= bound for bound in (0.2, 0.4))


def _known_members(cls: type[Any], text: str) -> dict[str, Any]:
    names = {each.name for each in fields(cls)}
    return {name: value for name, value in json.loads(text).items() if name in names}
