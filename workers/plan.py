"""What to do about a situation: a pure function; every rival that is tried, and every one that is not, with its reason.

| situation | evidence | rivals, cheapest first |
|---|---|---|
| S0 | labels show no loss, classes and confidence of the answers are as before | the champion with renewed references |
| S1 | the monitor says that only the classes' shares changed | prior correction, and a head refit to check it |
| S3 | labels show no loss, but the answers are surer or less sure than they are right | temperature, else as S0 |
| S4 | no labels, or fewer than 8 of a class | prior, centring or a known version, self-training: at most held |
| S5 | at least 8 labels of every class | the cheaper ones, head refit, LoRA, self-training that the labels teach |
| S6 | labels enough for LoRA by the settings | the cheaper ones, head refit, LoRA with replay |
| S7 | labels contradict what was learnt | head refit and LoRA, without what they contradict |
| S8 | at least 8 labels of a class that was declared and is not taught yet | head refit, LoRA with replay |

S2 (recurring) is a rival of every other situation: an earlier version is tried where there is one. S0 and S3 change no
answer: there is nothing to compare, and the gate judges them by rules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from trimtab.drift import DriftKind
from trimtab.labels import FEWEST_PER_CLASS, LabelNeeds, missing_labels
from trimtab.settings import TrainingSettings
from trimtab.stats.label_shift import MIN_REFERENCE
from workers.health import Health

ENOUGH_UNLABELLED = 200  # texts: fewer say little of a mean, and their pseudo-labels less
ENOUGH_FOR_KNOWN = 30  # selection labels: below, one version's are not told from another's
ENOUGH_TO_COMPARE = 20  # selection labels: below, one standard error is wider than most gains
# Below, the plan's default is taken unless another is clearly better: with 10 % of the answers different, a difference
# of 2 points is one standard error at 250.
ENOUGH_TO_RANK = 250
BATCH = 16  # labelled rows of a step
SHARE_FOR_STEPS = 0.8  # of the time budget; the rest is for reading, scoring and judging
FITS = {"lora": 1, "self_training": 3}  # that a remedy makes, at most, one after the other
STEP_S = {"cpu": 2.0, "cuda": 0.1}  # planning figures until a step was measured here: 32 texts of 64 tokens


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a plan depends on: the drift, usable labelled rows of the window, and what is kept of the past.

    Attributes:
        n_window, n_with_text: Predictions of the window; those whose text is kept.
        counts: Labelled rows by part and label that may be used: distinct, and kept for no other purpose.
        labels: The model's labels.
        n_memory: Exemplars for replay.
        past_domains: Domains that have a gate set.
        drift: What the monitor takes it for; None where nobody said.
        n_unlabelled: Texts without a label that may be trained on.
        n_calibration: Labelled texts of the past that were never trained on and are in no gate set.
        known: Versions that were accepted before, newest first.
        named: Whether clients name the domain in their requests.
        corrected: Whether the champion carries a prior correction.
        device: "cpu" or "cuda".
        step_s: Seconds of a training step as measured when the champion was made; None: a planning figure.
        new_labels: Those of `labels` that the champion does not know.
        health: What labels drawn at random say of the champion on the window; None: too few of them.
    """

    n_window: int
    n_with_text: int
    counts: Mapping[str, Mapping[str, int]]
    labels: tuple[str, ...]
    n_memory: int
    past_domains: tuple[str, ...]
    drift: DriftKind | None = None
    n_unlabelled: int = 0
    n_calibration: int = 0
    known: tuple[int, ...] = ()
    named: bool = False
    corrected: bool = False
    device: str = "cpu"
    step_s: float | None = None
    new_labels: tuple[str, ...] = ()
    health: Health | None = None

    def n(self, part: str) -> int:
        """Labelled rows of a part."""
        return sum(self.counts.get(part, {}).values())

    @property
    def rarest(self) -> int:
        """Labelled rows to train on of the class that has fewest."""
        return min(self.counts.get("train", {}).get(label, 0) for label in self.labels)

    @property
    def teachable(self) -> bool:
        """Whether anything can be learnt from the labels."""
        return self.rarest >= FEWEST_PER_CLASS

    @property
    def seconds_an_epoch(self) -> float:
        """What an epoch of LoRA with replay is expected to take."""
        return self.seconds_of(self.n("train"))

    def seconds_of(self, n: int) -> float:
        """The same for n new rows."""
        return -(-n // BATCH) * (self.step_s or STEP_S.get(self.device, STEP_S["cpu"]))


@dataclass(frozen=True)
class Rival:
    """A remedy that is tried, or why it is not."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A decision and why.

    Attributes:
        situation: Row of the plan table, such as "S6".
        reasons: In words, for people.
        rivals: What is tried, cheapest first; nothing: the job is held.
        left_out: What is not tried.
        default: The rival that is taken where too few selection labels compare them.
        missing: Labels by part that would be needed to do more.
        epochs: Over the labelled rows, for remedies that train.
        max_seconds: That a job may take; a fit plans its steps for 80 % of it.
    """

    situation: str
    reasons: tuple[str, ...]
    rivals: tuple[Rival, ...] = ()
    left_out: tuple[Rival, ...] = ()
    default: str = ""
    missing: Mapping[str, int] = field(default_factory=dict)
    epochs: int = 0
    max_seconds: float | None = None
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain JSON object for the ledger and the manifest; `method` names the rivals in short."""
        return asdict(self) | {"method": " | ".join(rival.name for rival in self.rivals) or "hold"}


@dataclass(frozen=True)
class _Judged:
    """Whether a remedy is tried, and why or why not."""

    tried: bool
    reason: str


Judge = Callable[[Situation, TrainingSettings], _Judged]


def make_plan(situation: Situation, training: TrainingSettings) -> Plan:
    """Which rivals are tried, cheapest first; none: hold."""
    name = _situation(situation, training)
    missing = missing_labels(situation.counts, LabelNeeds.of(training, situation.labels))
    if situation.n_window and not situation.n_with_text:
        reason = (
            "no text is kept of the window (TRIMTAB_SAMPLES__RETENTION is 0): there is nothing to learn from"
        )
        return Plan(situation="S4", reasons=(reason,), missing=missing)
    judged = _judged(name, situation, training)
    rivals = tuple(Rival(remedy, each.reason) for remedy, each in judged.items() if each.tried)
    left_out = tuple(Rival(remedy, each.reason) for remedy, each in judged.items() if not each.tried)
    return Plan(
        situation=name,
        reasons=(WORDS[name], *_reasons(situation, rivals, missing)),
        rivals=rivals,
        left_out=left_out,
        default=_default(name, rivals),
        missing=missing,
        epochs=training.epochs,
        max_seconds=training.max_seconds,
        seed=training.seed,
    )


def insisted(plan: Plan, method: str) -> Plan:
    """The plan with one remedy only, because somebody asked for it; it may decline still."""
    others = (*plan.rivals, *plan.left_out)
    left_out = tuple(Rival(each.name, f"{method} was asked for") for each in others if each.name != method)
    rivals = (Rival(method, "asked for by hand"),)
    reasons = (*plan.reasons, f"only {method} is tried: it was asked for")
    return replace(plan, rivals=rivals, left_out=left_out, default=method, reasons=reasons)


WORDS = {
    "S0": "the inputs changed, the answers did not, and labels show no loss: only the references are renewed",
    "S1": "only the classes' shares changed: the prior is corrected, no feature is trained",
    "S3": "labels show no loss, but the answers are not as sure as they are right: the temperature is refitted",
    "S4": "the inputs changed and labels are too few to learn from: what is proposed needs labels to be judged",
    "S5": "labels are few for the features: texts without a label learn from what these teach",
    "S6": "labels are enough to move the features",
    "S7": "labels contradict what was learnt: what they contradict is not replayed",
    "S8": "labels name a class that the champion does not know: its head gets another row",
}


# What is tried where nothing need be learnt: the first that proposes something.
ALONE = {"S0": ("reference",), "S3": ("temperature", "reference")}
TEACHERS = {"head", "lora"}  # remedies that can teach a class
# Kinds that say no more than that the inputs changed: labels may show that it does not matter.
MAY_BE_HARMLESS = {DriftKind.COVARIATE_BENIGN, DriftKind.COVARIATE_HARMFUL, DriftKind.VOCABULARY}


def _judged(name: str, situation: Situation, training: TrainingSettings) -> dict[str, _Judged]:
    """Every remedy, in order of cost; where no answer is to change, in the order in which they are tried."""
    if name == "S8":
        return {remedy: _of_new_class(remedy, situation, training) for remedy in JUDGES}
    if name not in ALONE:
        return {remedy: judge(situation, training) for remedy, judge in JUDGES.items()}
    unmoved = situation.health is not None and situation.health.unmoved
    tried = [remedy for remedy in ALONE[name] if remedy != "reference" or unmoved]
    return {remedy: _Judged(remedy in tried, WORDS[name]) for remedy in dict.fromkeys((*tried, *JUDGES))}


def _of_new_class(remedy: str, situation: Situation, training: TrainingSettings) -> _Judged:
    """A class is learnt from its labels or not at all, whatever else the inputs did."""
    if remedy in TEACHERS:
        return JUDGES[remedy](replace(situation, drift=None), training)
    return _Judged(False, f"cannot teach a new class ({', '.join(situation.new_labels)})")


def _situation(situation: Situation, training: TrainingSettings) -> str:
    if situation.new_labels:
        return "S8"
    if situation.drift is DriftKind.LABEL_SHIFT:
        return "S1"
    if situation.drift in MAY_BE_HARMLESS and (found := _harmless(situation.health)):
        return found
    if not situation.teachable:
        return "S4"
    if situation.drift is DriftKind.CONCEPT:
        return "S7"
    return "S6" if _enough_for_lora(situation, training) else "S5"


def _harmless(health: Health | None) -> str:
    """S0 or S3, where labels show that nothing need be learnt; else nothing."""
    if health is None or not health.harmless:
        return ""
    if health.miscalibrated:
        return "S3"
    return "S0" if health.unmoved else ""


def _enough_for_lora(situation: Situation, training: TrainingSettings) -> bool:
    per_class = situation.rarest >= training.min_labels_per_class
    return per_class and situation.n("train") >= training.min_train_labels


def _default(name: str, rivals: tuple[Rival, ...]) -> str:
    """Most is expected of the most expensive rival that the situation names; without labels of the cheapest."""
    names = [rival.name for rival in rivals]
    wanted = {
        "S0": ("reference",),
        "S1": ("prior",),
        "S3": ("temperature",),
        "S4": ("centre", "self_training", "prior"),
        "S5": ("self_training", "lora", "head"),
        "S6": ("lora", "head"),
        "S7": ("lora", "head"),
        "S8": ("lora", "head"),
    }
    return next((each for each in (*wanted[name], *names) if each in names), "")


def _reasons(situation: Situation, rivals: tuple[Rival, ...], missing: Mapping[str, int]) -> list[str]:
    reasons = [f"{situation.n('gate')} labelled rows are kept apart for the gate"]
    if situation.drift is not None:
        reasons.insert(0, f"the monitor says {situation.drift}: {situation.drift.meaning}")
    if situation.health is not None:
        reasons.append(situation.health.words)
    if missing:
        lacking = ", ".join(f"{n} for {part}" for part, n in sorted(missing.items()))
        reasons.append(f"usable labels are missing: {lacking}")
    if situation.n("selection") < ENOUGH_TO_COMPARE and len(rivals) > 1:
        few = f"{situation.n('selection')} selection labels compare no rivals ({ENOUGH_TO_COMPARE} do)"
        reasons.append(f"{few}: the plan's default is taken")
    if not rivals:
        reasons.append("no remedy can be tried")
    return reasons


def _reference(_: Situation, __: TrainingSettings) -> _Judged:
    return _Judged(False, "renews the references only: for a change that labels show to be harmless")


def _prior(situation: Situation, _: TrainingSettings) -> _Judged:
    if situation.n_calibration < MIN_REFERENCE:
        few = f"{situation.n_calibration} labelled texts of the past were never trained on"
        return _Judged(False, f"{few}: shares are estimated with {MIN_REFERENCE}")
    if situation.corrected:
        return _Judged(
            True, "the champion carries a prior correction: it is renewed, or dropped if the prior is back"
        )
    if situation.drift in {None, DriftKind.LABEL_SHIFT}:
        return _Judged(
            True, "costs nothing to try, and does not apply unless only the classes' shares changed"
        )
    return _Judged(False, f"the monitor says {situation.drift}, not that only the classes' shares changed")


def _temperature(_: Situation, __: TrainingSettings) -> _Judged:
    return _Judged(False, "changes no answer: for a change that costs no accuracy, as labels show")


def _centre(situation: Situation, _: TrainingSettings) -> _Judged:
    if not situation.named:
        return _Judged(False, "clients do not name the domain: nothing can be applied to it alone")
    if situation.drift in {DriftKind.LABEL_SHIFT, DriftKind.CONCEPT}:
        return _Judged(False, f"the monitor says {situation.drift}: the inputs of a class did not move")
    if situation.n_unlabelled + situation.n("train") < ENOUGH_UNLABELLED:
        return _Judged(False, f"a domain's mean needs {ENOUGH_UNLABELLED} texts")
    return _Judged(True, "one subtraction: recovers part of a shift of the features without labels")


def _known(situation: Situation, _: TrainingSettings) -> _Judged:
    if not situation.known:
        return _Judged(False, "no other version was accepted before")
    if situation.n("selection") < ENOUGH_FOR_KNOWN:
        return _Judged(
            False, f"without {ENOUGH_FOR_KNOWN} selection labels nothing says that a domain came back"
        )
    listed = ", ".join(map(str, situation.known))
    return _Judged(True, f"a domain may have come back: versions accepted before ({listed}) cost no training")


def _head(situation: Situation, _: TrainingSettings) -> _Judged:
    if not situation.teachable:
        return _Judged(False, _too_few(situation))
    return _Judged(
        True, f"{situation.n('train')} labelled rows on features that are there: a matter of seconds"
    )


def _lora(situation: Situation, training: TrainingSettings) -> _Judged:
    if situation.drift is DriftKind.LABEL_SHIFT:
        return _Judged(False, "a class looks as it did: the features need not change")
    if not situation.teachable:
        return _Judged(False, _too_few(situation))
    budget_s = SHARE_FOR_STEPS * training.max_seconds
    if situation.seconds_an_epoch > budget_s:
        too_long = (
            f"an epoch would take about {situation.seconds_an_epoch:.0f} s, the budget is {budget_s:.0f} s"
        )
        return _Judged(False, f"{too_long} (80 % of TRIMTAB_TRAINING__MAX_SECONDS)")
    past = ", ".join(situation.past_domains) or "none"
    kept = f"one adapter for all domains (past: {past}), {situation.n_memory} exemplars are replayed"
    if not _enough_for_lora(situation, training):
        kept += "; labels are few, so they are passed over more often"
    return _Judged(
        True, f"{situation.n('train')} labelled rows, at least {situation.rarest} of every label; {kept}"
    )


def _self_training(situation: Situation, training: TrainingSettings) -> _Judged:
    if situation.drift in {DriftKind.LABEL_SHIFT, DriftKind.CONCEPT}:
        return _Judged(
            False, f"the monitor says {situation.drift}: pseudo-labels would teach the old concept"
        )
    if situation.teachable and _enough_for_lora(situation, training):
        return _Judged(False, "there are labels: the champion's own guesses add nothing")
    if situation.n_unlabelled < ENOUGH_UNLABELLED:
        return _Judged(
            False, f"{situation.n_unlabelled} texts without a label, {ENOUGH_UNLABELLED} are needed"
        )
    fits, budget_s = FITS["self_training"], SHARE_FOR_STEPS * training.max_seconds
    expected_s = fits * situation.seconds_of(situation.n_unlabelled)
    if expected_s > budget_s:
        too_long = f"{fits} fits would take about {expected_s:.0f} s, the budget is {budget_s:.0f} s"
        return _Judged(False, f"{too_long} (80 % of TRIMTAB_TRAINING__MAX_SECONDS)")
    taught = "labels teach" if situation.teachable else "the champion's surest answers teach"
    return _Judged(True, f"{situation.n_unlabelled} texts without a label learn from what {taught}")


def _too_few(situation: Situation) -> str:
    return f"{situation.rarest} labels of the rarest class, {FEWEST_PER_CLASS} are needed to learn anything"


# In order of cost.
JUDGES: Mapping[str, Judge] = {
    "reference": _reference,
    "prior": _prior,
    "temperature": _temperature,
    "centre": _centre,
    "known": _known,
    "head": _head,
    "lora": _lora,
    "self_training": _self_training,
}
