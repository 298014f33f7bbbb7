"""What a remedy works on, and what it comes back with. No ledger and no store: a benchmark makes a task from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.base import BaseModel
from trimtab.features import Floats
from workers.artefact import Candidate
from workers.checkpoints import Checkpoints
from workers.evaluate import Answers
from workers.fit import ReplaySet, TrainingSet
from workers.progress import Report, silent
from workers.workshop import LoadedVersion


@dataclass(frozen=True, kw_only=True)
class Task:
    """A change of the traffic that the champion is to be adapted to.

    No text of a gate set is in it, and no text is in two of `train`, `selection`, `replay`, `past`, `unlabelled`.

    Attributes:
        base: The pristine base model.
        champion: What serves now: its files, and its answers (each text is asked once).
        labels: The model's labels, in the order of the logits.
        domain: Name of the new domain.
        train: Labelled texts of the window to learn from; may be empty.
        selection: Labelled texts on which rivals are compared; never trained on, never seen by the gate.
        replay: Exemplars of the past domains.
        past: Selection sets of the past domains that still count: what must not be forgotten; never trained on.
        retired: Past domains whose labels are no longer true: not in `past`, and forgetting them is no fault.
        only_drop: Whether a prior correction may be dropped only, not renewed: the job was opened because it is over.
        shifted: Past domains that entered with a prior correction: the weights are not fitted to their shares.
        contradicted: Keys of the exemplars that the new labels contradict: they are not in `replay`.
        calibration: By past domain, labelled texts that were never trained on; holds the selection sets of `past`.
        held_out: Keys of the gate sets' texts, whose truth the champion's references know: not to be learnt from.
        unlabelled: Texts of the window without a label that may be trained on; no reference holds them.
        known: Versions that were accepted before and are no champion now, newest first.
        named: Whether clients name this domain in their requests (else nothing per domain can be applied).
        window: (n, d) feature rows of the window's predictions, made with the champion's feature map; None where
            the texts have to be asked.
        version: Number of the version that is being made.
        epochs: Over the labelled rows, at least, for remedies that train: few rows are passed over more often.
        max_seconds: That a fit may take (`Recipe.max_seconds`); None: as long as it takes.
        checkpoints: Where a fit keeps how far it is; None: nowhere.
        seed: Of everything random.
        max_tokens: Texts are cut there.
        report: Told how far a long remedy is; whatever it raises ends the remedy.
    """

    base: BaseModel
    champion: LoadedVersion
    labels: tuple[str, ...]
    domain: str
    train: TrainingSet
    selection: TrainingSet
    replay: ReplaySet
    past: Mapping[str, TrainingSet] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()
    only_drop: bool = False
    shifted: frozenset[str] = frozenset()
    contradicted: tuple[str, ...] = ()
    calibration: Mapping[str, TrainingSet] = field(default_factory=dict)
    held_out: frozenset[str] = frozenset()
    unlabelled: tuple[str, ...] = ()
    known: tuple[LoadedVersion, ...] = ()
    named: bool = False
    window: Floats | None = None
    version: int = 0
    epochs: int = 3
    max_seconds: float | None = None
    checkpoints: Checkpoints | None = None
    seed: int = 7
    max_tokens: int = 128
    report: Report = silent

    @property
    def window_texts(self) -> tuple[str, ...]:
        """Texts of the window that are held out from nothing: what shares and means are estimated on."""
        return (*self.unlabelled, *self.train.texts)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A candidate that a remedy made.

    Attributes:
        name: Such as "prior", "temperature", "centre", "known:3", "head", "lora", "lora@0.6".
        candidate: Files and answers; the champion's files where the remedy changes nothing.
        cost: Rank by expense, cheapest 0; decides within one standard error.
        reason: In words, for people.
        details: Numbers worth keeping in the manifest. `prior_after`: (k,) shares of the classes that a prior
            correction is right for: it is judged on examples weighted to these; `dropped`: it takes one back, and
            `reference` is the past domain that the traffic resembles again. `fit`: what a fit did.
    """

    name: str
    candidate: Candidate
    cost: int
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answers(self) -> Answers:
        return self.candidate.answers

    @property
    def shares(self) -> npt.NDArray[np.float64] | None:
        """(k,) shares of the classes that a prior correction is right for."""
        after = self.details.get("prior_after")
        return None if after is None else np.asarray(after, dtype=np.float64)

    @property
    def learnt(self) -> bool:
        """Whether anything of what it answers was learnt from the window."""
        return not (self.back_to or self.name.startswith(("reference", "temperature", "known")))

    @property
    def back_to(self) -> str | None:
        """The past domain whose shares of the classes are back, where a prior correction is dropped."""
        return str(self.details["reference"]) if self.details.get("dropped") else None


@dataclass(frozen=True)
class Declined:
    """A remedy that proposes nothing, and why."""

    name: str
    reason: str
