"""What a remedy works on, and what it comes back with. No ledger and no store: a benchmark makes a task from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab.base import BaseModel
from trimtab.features import Floats
from workers.artefact import Candidate
from workers.evaluate import Answers
from workers.fit import ReplaySet, TrainingSet
from workers.workshop import LoadedVersion


@dataclass(frozen=True, kw_only=True)
class Task:
    """A change of the traffic that the champion is to be adapted to.

    Attributes:
        base: The pristine base model.
        champion: What serves now: its files, and its answers (each text is asked once).
        labels: The model's labels, in the order of the logits.
        domain: Name of the new domain.
        train: Labelled texts of the window to learn from; may be empty.
        selection: Labelled texts on which rivals are compared; never trained on, never seen by the gate.
        replay: Exemplars of the past domains.
        unlabelled: Texts of the window that have no label and are kept for no other purpose.
        known: Versions that were accepted before and are no champion now, newest first.
        named: Whether clients name this domain in their requests (else nothing per domain can be applied).
        window: (n, d) feature rows of the window's predictions, made with the champion's feature map; None where
            the texts have to be asked.
        version: The number of the candidate's version.
        seed: Of everything random.
        max_tokens: Texts are cut there.
    """

    base: BaseModel
    champion: LoadedVersion
    labels: tuple[str, ...]
    domain: str
    train: TrainingSet
    selection: TrainingSet
    replay: ReplaySet
    unlabelled: tuple[str, ...] = ()
    known: tuple[LoadedVersion, ...] = ()
    named: bool = False
    window: Floats | None = None
    version: int = 0
    seed: int = 7
    max_tokens: int = 128


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A candidate that a remedy made.

    Attributes:
        name: Such as "prior", "temperature", "centre", "known:3", "head", "lora", "lora@0.6".
        candidate: Files and answers; the champion's files where the remedy changes nothing.
        cost: Rank by expense, cheapest 0; decides within one standard error.
        reason: In words, for people.
        details: Numbers worth keeping in the manifest.
    """

    name: str
    candidate: Candidate
    cost: int
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answers(self) -> Answers:
        return self.candidate.answers


@dataclass(frozen=True)
class Declined:
    """A remedy that proposes nothing, and why."""

    name: str
    reason: str
