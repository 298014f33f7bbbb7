"""What to do with a situation: a pure function, every choice with its reason in words.

Two plans for now: continue the champion's LoRA with replay when labels suffice, or hold and say what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from trimtab.labels import LabelNeeds, missing_labels
from trimtab.settings import TrainingSettings
from workers.fit import Recipe


class Method(StrEnum):
    """How a candidate is made."""

    HOLD = "hold"
    LORA_REPLAY = "lora_replay"


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a plan depends on: usable labelled rows of the window, and what is kept of the past.

    Attributes:
        n_window, n_with_text: Predictions of the window; those whose text is kept.
        counts: Labelled rows by part and label that may be used: distinct, and kept for no other purpose.
        labels: The model's labels.
        n_memory: Exemplars for replay.
        past_domains: Domains that have a gate set.
    """

    n_window: int
    n_with_text: int
    counts: Mapping[str, Mapping[str, int]]
    labels: tuple[str, ...]
    n_memory: int
    past_domains: tuple[str, ...]

    def n(self, part: str) -> int:
        """Labelled rows of a part."""
        return sum(self.counts.get(part, {}).values())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A decision and why. `missing`: labels by part that would be needed to do more."""

    method: Method
    situation: str  # row of the plan table, such as "S6"
    reasons: tuple[str, ...]
    missing: Mapping[str, int] = field(default_factory=dict)
    recipe: Recipe | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON object for the ledger and the manifest."""
        return asdict(self)


def make_plan(situation: Situation, training: TrainingSettings, max_tokens: int) -> Plan:
    """Continue LoRA with replay, or hold."""
    if situation.n_window and not situation.n_with_text:
        reason = (
            "no text is kept of the window (TRIMTAB_SAMPLES__RETENTION is 0): there is nothing to train on"
        )
        return Plan(method=Method.HOLD, situation="S4", reasons=(reason,))
    missing = missing_labels(situation.counts, LabelNeeds.of(training, situation.labels))
    if missing:
        lacking = ", ".join(f"{n} for {part}" for part, n in sorted(missing.items()))
        reason = f"usable labels are missing: {lacking}"
        return Plan(method=Method.HOLD, situation="S5", reasons=(reason,), missing=missing)
    return Plan(
        method=Method.LORA_REPLAY,
        situation="S6",
        reasons=tuple(_reasons(situation)),
        recipe=Recipe(epochs=training.epochs, seed=training.seed, max_tokens=max_tokens),
    )


def _reasons(situation: Situation) -> list[str]:
    train = situation.counts.get("train", {})
    rarest = min(train, key=lambda label: train[label])
    past = ", ".join(situation.past_domains) or "none"
    enough = (
        f"{situation.n('train')} labelled rows to train on, at least {train[rarest]} of every label ({rarest}): "
        "enough to move the features, so LoRA rather than the head alone"
    )
    return [
        enough,
        f"the champion's LoRA is continued: the domains ({past}) share their labels, one adapter serves them all",
        f"DER++ replay of {situation.n_memory} exemplars guards what the champion knows",
        f"{situation.n('gate')} labelled rows are kept apart for the gate",
    ]
