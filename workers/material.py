"""What an adaptation may use: labelled rows of the window by part, memory, gate sets, references. One read.

Parts never cross. The part of a text is a function of its key (trimtab.splits), the same for the rows that `init` got
and for the traffic; on top of that, a text that is kept as a gate, selection or reference example is never trained
on, and a text in memory never enters a gate set.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from trimtab.bundle import Remedy
from trimtab.drift import DriftKind
from trimtab.jobs import PRIOR_BACK, AdaptationJob
from trimtab.labels import HELD_OUT, Labelled, usable
from trimtab.ledger import examples, feedback, gate_history, samples, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.feedback import LabelledRow
from trimtab.ledger.gate_history import Bit
from trimtab.ledger.given import given_rows
from trimtab.ledger.models import ModelRow
from trimtab.ledger.samples import PredictionRow
from trimtab.ledger.versions import VersionState
from trimtab.splits import key_of
from workers.fit import ReplaySet, TrainingSet
from workers.memory import choose
from workers.plan import Situation
from workers.poisoning import capped
from workers.teachable import lesson_of, of_these

MAX_REFERENCE = 2000  # reference texts of a domain
MAX_PROJECTED = 500  # texts of the new domain, and as many of the memory
MAX_WINDOW = 20_000  # predictions of the window that are read
MAX_UNLABELLED = 5000  # texts without a label that may be trained on, the newest
MAX_KNOWN = 4  # versions that were accepted before: each has to be loaded and asked


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that the recipe reads from the ledger."""

    model: ModelRow
    champion: int
    domain: str
    rows: Mapping[str, tuple[Labelled, ...]]  # by part
    reference: tuple[Example, ...]  # of the window, in order of arrival: none is trained on
    memory: tuple[Example, ...]
    gate_sets: Mapping[str, tuple[Example, ...]]  # by past domain
    references: Mapping[str, tuple[Example, ...]]  # by past domain
    n_window: int
    n_with_text: int
    selection_sets: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)  # by past domain
    unlabelled: tuple[str, ...] = ()  # in no reference, may be trained on
    window_seqs: tuple[int, ...] = ()
    drift: DriftKind | None = None
    known: tuple[int, ...] = ()  # versions accepted before on the same base, newest first
    only_drop: bool = False  # the job may drop a prior correction, and nothing else
    shifted: frozenset[str] = frozenset()  # past domains that entered with a prior correction
    named: bool = False
    step_s: float | None = None  # as measured when the champion was made
    bits: Mapping[str, Mapping[str, Bit]] = field(
        default_factory=dict
    )  # by past domain and key: the first answers
    uses: Mapping[str, int] = field(
        default_factory=dict
    )  # by past domain: how often its gate set has decided
    looks: int = 0  # earlier jobs that tested labels of this window
    offered: tuple[Labelled, ...] = ()  # labelled rows of the training part, before any was left out
    n_capped: int = 0  # labelled rows left out because their client has more than its share
    n_copies: int = 0  # labelled rows left out as near-copies
    new_labels: tuple[str, ...] = ()  # the last of the model's: the champion does not know them yet
    labels_of: Mapping[int, tuple[str, ...]] = field(
        default_factory=dict
    )  # by version: what its logits stand for

    def situation(self, remedy: Remedy, device: str = "cpu") -> Situation:
        """What the plan depends on; `remedy` is the champion's."""
        return Situation(
            n_window=self.n_window,
            n_with_text=self.n_with_text,
            counts={part: Counter(row.label for row in rows) for part, rows in self.rows.items()},
            labels=self.model.labels,
            n_memory=len(self.memory),
            past_domains=tuple(self.gate_sets),
            drift=self.drift,
            n_unlabelled=len(self.unlabelled),
            n_calibration=sum(len(found.texts) for found in self.calibration.values()),
            known=self.known,
            named=self.named,
            corrected=remedy.log_prior is not None,
            device=device,
            step_s=self.step_s,
            new_labels=self.new_labels,
        )

    def without_news(self) -> Material:
        """Without what the window would add: it holds nothing that is not known."""
        return replace(self, rows=dict.fromkeys(self.rows, ()), reference=())

    def without_training_rows(self) -> Material:
        """Without the labelled rows of the training part."""
        return replace(self, rows={**self.rows, "train": ()})

    def without_labels_of(self, clients: AbstractSet[str]) -> Material:
        """Without what these clients say: not their labelled rows; texts of the reference are there without a label."""
        rows = {
            part: tuple(row for row in each if row.client not in clients) for part, each in self.rows.items()
        }
        reference = tuple(
            replace(each, label=None) if (each.client or "") in clients else each for each in self.reference
        )
        return replace(self, rows=rows, reference=reference)

    @property
    def held_out(self) -> frozenset[str]:
        """Keys of the gate sets' texts, the new one's too."""
        kept = {example.key for group in self.gate_sets.values() for example in group}
        return frozenset(kept | {row.key for row in self.rows["gate"]})

    @property
    def calibration(self) -> dict[str, TrainingSet]:
        """By past domain: labelled texts that were never trained on and that the gate does not judge by."""
        gate = self.held_out
        found: dict[str, dict[str, Example]] = {}
        for sets in (self.references, self.selection_sets):
            for domain, group in sets.items():
                kept = {e.key: e for e in group if e.label in self.model.labels and e.key not in gate}
                found.setdefault(domain, {}).update(kept)
        return {domain: self.labelled_set(kept.values()) for domain, kept in found.items() if kept}

    @property
    def past(self) -> dict[str, TrainingSet]:
        """Selection sets of the past domains."""
        return {domain: self.labelled_set(kept) for domain, kept in self.selection_sets.items()}

    def index(self, label: Any) -> int:
        """Position of a label among the model's; raises ValueError for another."""
        return self.model.labels.index(label)

    def indices(self, labels: Iterable[str | None]) -> npt.NDArray[np.int64]:
        """(n,) label indices."""
        return np.array([self.index(label) for label in labels], dtype=np.int64)

    def labelled_set(self, rows: Iterable[Labelled | Example]) -> TrainingSet:
        """Texts with label indices; raises ValueError for a label that is not the model's."""
        kept = list(rows)
        return TrainingSet(tuple(row.text for row in kept), self.indices(row.label for row in kept))

    def training_set(self) -> TrainingSet:
        return self.labelled_set(self.rows["train"])

    @property
    def exemplars(self) -> list[Example]:
        """Exemplars with logits."""
        return [example for example in self.memory if example.logits]

    @property
    def learnt(self) -> dict[str, str]:
        """The labels that are trained on, by key."""
        return {row.key: row.label for row in self.rows["train"]}

    def replay_set(self, left_out: AbstractSet[str] = frozenset()) -> ReplaySet:
        """The exemplars with their domains, without those of these keys and those that are learnt anew.

        Logits of classes that came after an exemplar are not a number; those of a class that went are left out.
        """
        absent = left_out | self.learnt.keys()
        kept = [example for example in self.exemplars if example.key not in absent]
        return ReplaySet(
            tuple(example.text for example in kept),
            self.indices(example.label for example in kept),
            np.array(list(map(self._logits, kept)), dtype=np.float32).reshape(-1, len(self.model.labels)),
            tuple(example.domain for example in kept),
        )

    def _logits(self, example: Example) -> list[float]:
        """(k,) of the model's labels, as the version that stored them named them."""
        names = self.labels_of.get(example.version, self.model.labels)
        said = dict(zip(names, example.logits or (), strict=False))
        return [said.get(label, math.nan) for label in self.model.labels]

    @property
    def projected_texts(self) -> tuple[str, ...]:
        """Texts of the new domain and of the past ones that the drift features are fitted on: none of a reference."""
        new = (*(row.text for row in self.rows["train"]), *self.unlabelled)[:MAX_PROJECTED]
        return (*new, *(example.text for example in self.memory[:MAX_PROJECTED]))

    def memory_digest(self) -> str:
        """sha256 (hex) over the keys of the exemplars: equal memories, equal digest."""
        return hashlib.sha256("\n".join(sorted(e.key for e in self.memory)).encode()).hexdigest()


def gather(
    tx: Connection, job: AdaptationJob, budget: int, *, max_client_share: float = 1.0, at_least: int = 0
) -> Material:
    """Reads the material of a job in one transaction; nothing of a quarantined window. Raises ModelNotFound.

    What arrived after the job was first begun is left to the next one: whoever takes it over reads the same.

    Args:
        budget: Exemplars that are replayed at most.
        max_client_share: Of what is trained on and of what judges, where there are three clients or more.
        at_least: Training rows that are left when near-copies and surplus are taken out, if there are as many.
    """
    model, quarantined = versions.served_model(tx, job.model), gate_history.quarantined(tx, job.model)
    window = _window(tx, job, quarantined)
    labelled = _labelled(tx, job, quarantined)
    held_out = examples.keys(tx, job.model, HELD_OUT)
    remembered = examples.list_examples(tx, job.model, "memory")
    found = usable(labelled, held_out, {e.key for e in remembered})
    taught = model.labels
    lesson = lesson_of(tx, job.model, job.cause, taught, found, max_share=max_client_share, at_least=at_least)
    model, rows, train = replace(model, labels=lesson.labels), lesson.rows, lesson.train
    judges = {part: tuple(capped(rows[part], max_client_share)) for part in ("selection", "gate")}
    kept = {role: _by_domain(tx, model, role) for role in HELD_OUT}
    said = {key_of(row.text) for row in labelled if row.text is not None}
    unlabelled = free_texts(window, said | held_out | {e.key for e in remembered})
    trained = {row.key for row in rows["train"]} | {e.key for e in remembered} | unlabelled.keys()
    trained |= lesson.waiting
    # One that came without labels has no gate set.
    accepted = [each for role in ("gate", "reference") for each in examples.domains(tx, job.model, role)]
    domain = name_domain(window, job.domain, list(dict.fromkeys(accepted)))
    champion = versions.get_aliases(tx, job.model)["champion"]
    return Material(
        model=model,
        champion=champion,
        domain=domain,
        rows={"train": train.rows, **judges},
        reference=new_reference(job.model, domain, window, (*judges["selection"], *judges["gate"]), trained),
        memory=tuple(choose(of_these(remembered, model.labels), budget)),
        gate_sets=kept["gate"],
        references=kept["reference"],
        n_window=len(window),
        n_with_text=sum(row.text is not None for row in window),
        selection_sets=kept["selection"],
        unlabelled=tuple(unlabelled.values()),
        window_seqs=tuple(row.seq for row in window),
        drift=_drift(job),
        known=_known(tx, model, champion),
        only_drop=job.cause.get("kind") == PRIOR_BACK,
        shifted=_shifted(tx, job.model, kept["gate"]),
        named=2 * sum(row.domain == domain for row in window) > len(window),
        step_s=_step_s(tx, job.model, champion),
        bits=gate_history.first_bits(tx, job.model),
        uses=gate_history.uses(tx, job.model),
        looks=gate_history.looks(tx, job),
        offered=rows["train"],
        n_capped=train.capped,
        n_copies=train.copies,
        new_labels=model.labels[len(taught) :],
        labels_of=_labels_of(tx, job.model),
    )


def _window(
    tx: Connection, job: AdaptationJob, quarantined: Sequence[gate_history.Window]
) -> list[PredictionRow]:
    until_seq = job.extent.until_seq if job.extent else None
    seen = samples.window_rows(tx, job.model, job.window_from_seq, MAX_WINDOW, until_seq)
    return gate_history.outside(seen, quarantined)


def _labelled(
    tx: Connection, job: AdaptationJob, quarantined: Sequence[gate_history.Window]
) -> list[LabelledRow]:
    """Of the window, and given by hand."""
    seen = feedback.labelled(tx, job.model, job.window_from_seq, job.extent)
    return [*gate_history.outside(seen, quarantined), *given_rows(tx, job.model)]


def free_texts(window: Sequence[PredictionRow], taken: AbstractSet[str]) -> dict[str, str]:
    """Texts by key, the newest 5,000, that have no other use and lie in the part of the split that is trained on.

    The others are left to the drift reference, of which nothing may be trained on.
    """
    found = {key_of(row.text): row.text for row in window if row.text is not None and row.part == "train"}
    free = {key: text for key, text in found.items() if key not in taken}
    return dict(list(free.items())[-MAX_UNLABELLED:])


def _drift(job: AdaptationJob) -> DriftKind | None:
    said = job.cause.get("drift")
    return DriftKind(said) if said in set(DriftKind) else None


def _known(tx: Connection, model: ModelRow, champion: int) -> tuple[int, ...]:
    """Versions that were accepted once, with the same labels on the same base, newest first."""
    fit = [
        version.n
        for version in versions.list_versions(tx, model.name)
        if version.state is VersionState.ACCEPTED
        and version.n != champion
        and version.manifest.get("base", {}).get("digest") == model.base_digest
        and tuple(version.manifest.get("labels", ())) == model.labels
    ]
    return tuple(sorted(fit, reverse=True)[:MAX_KNOWN])


def _labels_of(tx: Connection, model: str) -> dict[int, tuple[str, ...]]:
    """By version: its classes, in the order of its logits."""
    found = {each.n: each.manifest.get("labels") for each in versions.list_versions(tx, model)}
    return {n: tuple(labels) for n, labels in found.items() if labels}


def _shifted(tx: Connection, model: str, gate_sets: Mapping[str, Sequence[Example]]) -> frozenset[str]:
    """Domains whose examples entered with a version that was made by a prior correction."""
    remedies = {
        version.n: version.manifest.get("training", {}).get("remedy")
        for version in versions.list_versions(tx, model)
    }
    return frozenset(domain for domain, kept in gate_sets.items() if remedies.get(kept[0].version) == "prior")


def _step_s(tx: Connection, model: str, n: int) -> float | None:
    training = versions.get_version(tx, model, n).manifest.get("training", {})
    steps, seconds = training.get("steps"), training.get("seconds")
    return float(seconds) / int(steps) if steps and seconds else None


def new_reference(
    model: str,
    domain: str,
    window: Sequence[PredictionRow],
    held_out: Sequence[Labelled],
    trained: AbstractSet[str],
) -> tuple[Example, ...]:
    """2,000 distinct texts that are not trained on, in order of arrival: the labelled ones, then the newest.

    Without labels a reference tells neither accuracy nor the classes' shares. `held_out` texts that are not in the
    window came before it.
    """
    label_of = {row.key: row.label for row in held_out}
    seen = {key_of(row.text): row for row in window if row.text is not None}
    earlier = {row.key: row for row in held_out if row.key not in seen}
    unseen = [(key, row) for key, row in (earlier | seen).items() if key not in trained]
    wanted = sorted(range(len(unseen)), key=lambda place: (unseen[place][0] in label_of, place))
    return tuple(
        Example(
            model=model, domain=domain, role="reference", text=row.text or "", key=key, label=label_of.get(key),
            priority=place, prediction_id=row.prediction_id, client=row.client,
        )
        for place, (key, row) in enumerate(unseen[i] for i in sorted(wanted[-MAX_REFERENCE:]))
    )  # fmt: skip


def name_domain(window: Sequence[PredictionRow], proposed: str, taken: Sequence[str]) -> str:
    """What most of the window's clients call it, else the proposed name, else "domain-2" for the second domain.

    Never a name in use, because two domains must not share a gate set: then it gets a number.
    """
    said = Counter(row.domain for row in window if row.domain)
    number = len(taken) + 1
    name = proposed or f"domain-{number}"
    if 2 * sum(said.values()) > len(window):
        name = max(sorted(said), key=lambda each: said[each])
    unique = name
    while unique in taken:
        unique, number = f"{name}-{number}", number + 1
    return unique


def _by_domain(tx: Connection, model: ModelRow, role: str) -> dict[str, tuple[Example, ...]]:
    """Examples of the model's classes that are not retired."""
    groups: dict[str, list[Example]] = {}
    for example in of_these(examples.list_examples(tx, model.name, role), model.labels):
        if example.retired_by is None:
            groups.setdefault(example.domain, []).append(example)
    return {domain: tuple(group) for domain, group in groups.items()}
