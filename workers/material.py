"""What an adaptation may use: labelled rows of the window by part, memory, gate sets, references. One read.

Parts never cross. The part of a text is a function of its key (trimtab.splits), the same for the rows that `init` got
and for the traffic; on top of that, a text that is kept as a gate, selection or reference example is never trained
on, and a text in memory never enters a gate set.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from trimtab.jobs import AdaptationJob
from trimtab.labels import HELD_OUT, Labelled, usable
from trimtab.ledger import examples, feedback, models, samples, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.models import ModelRow
from trimtab.ledger.samples import PredictionRow
from trimtab.splits import key_of
from workers.fit import ReplaySet, TrainingSet
from workers.memory import choose
from workers.plan import Situation

MAX_REFERENCE = 2000  # reference texts of a domain
MAX_PROJECTED = 500  # texts of the new domain, and as many of the memory
MAX_WINDOW = 20_000  # predictions of the window that are read


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

    @property
    def situation(self) -> Situation:
        return Situation(
            n_window=self.n_window,
            n_with_text=self.n_with_text,
            counts={part: Counter(row.label for row in rows) for part, rows in self.rows.items()},
            labels=self.model.labels,
            n_memory=len(self.memory),
            past_domains=tuple(self.gate_sets),
        )

    def index(self, label: Any) -> int:
        """Position of a label among the model's; raises ValueError for another."""
        return self.model.labels.index(label)

    def indices(self, labels: Iterable[str | None]) -> npt.NDArray[np.int64]:
        """(n,) label indices."""
        return np.array([self.index(label) for label in labels], dtype=np.int64)

    def training_set(self) -> TrainingSet:
        rows = self.rows["train"]
        return TrainingSet(tuple(row.text for row in rows), self.indices(row.label for row in rows))

    def replay_set(self) -> ReplaySet:
        """Exemplars whose logits fit the model's labels."""
        k = len(self.model.labels)
        kept = [example for example in self.memory if example.logits and len(example.logits) == k]
        logits = np.array([example.logits for example in kept], dtype=np.float32).reshape(len(kept), k)
        return ReplaySet(
            tuple(example.text for example in kept), self.indices(example.label for example in kept), logits
        )

    @property
    def projected_texts(self) -> tuple[str, ...]:
        """Texts of the new domain and of the past ones that the drift features are fitted on: all trained on."""
        new = [row.text for row in self.rows["train"][:MAX_PROJECTED]]
        return (*new, *(example.text for example in self.memory[:MAX_PROJECTED]))

    def memory_digest(self) -> str:
        """sha256 (hex) over the keys of the exemplars: equal memories, equal digest."""
        return hashlib.sha256("\n".join(sorted(e.key for e in self.memory)).encode()).hexdigest()


def gather(tx: Connection, job: AdaptationJob, budget: int) -> Material:
    """Reads the material of a job in one transaction. Raises ModelNotFound."""
    window = samples.window_rows(tx, job.model, job.window_from_seq, MAX_WINDOW)
    held_out = examples.keys(tx, job.model, HELD_OUT)
    remembered = examples.list_examples(tx, job.model, "memory")
    rows = usable(
        feedback.labelled(tx, job.model, job.window_from_seq), held_out, {e.key for e in remembered}
    )
    trained = {row.key for row in rows["train"]} | {example.key for example in remembered}
    domain = name_domain(window, job.domain, examples.domains(tx, job.model, "gate"))
    return Material(
        model=models.get_model(tx, job.model),
        champion=versions.get_aliases(tx, job.model)["champion"],
        domain=domain,
        rows=rows,
        reference=new_reference(job.model, domain, window, (*rows["selection"], *rows["gate"]), trained),
        memory=tuple(choose(remembered, budget)),
        gate_sets=_by_domain(examples.list_examples(tx, job.model, "gate")),
        references=_by_domain(examples.list_examples(tx, job.model, "reference")),
        n_window=len(window),
        n_with_text=sum(row.text is not None for row in window),
    )


def new_reference(
    model: str,
    domain: str,
    window: Sequence[PredictionRow],
    held_out: Sequence[Labelled],
    trained: AbstractSet[str],
) -> tuple[Example, ...]:
    """The newest 2,000 distinct texts in order of arrival that are not trained on, with their labels where known.

    `held_out` texts that are not in the window came before it.
    """
    label_of = {row.key: row.label for row in held_out}
    seen = {key_of(row.text): row.text for row in window if row.text is not None}
    earlier = {row.key: row.text for row in held_out if row.key not in seen}
    unseen = [(key, text) for key, text in (earlier | seen).items() if key not in trained]
    return tuple(
        Example(
            model=model, domain=domain, role="reference", text=text, key=key, label=label_of.get(key), priority=place,
        )
        for place, (key, text) in enumerate(unseen[-MAX_REFERENCE:])
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


def _by_domain(found: Iterable[Example]) -> dict[str, tuple[Example, ...]]:
    groups: dict[str, list[Example]] = {}
    for example in found:
        groups.setdefault(example.domain, []).append(example)
    return {domain: tuple(group) for domain, group in groups.items()}
