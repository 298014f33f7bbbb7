"""The evidence for the gate: champion and candidate on every gate set, and what the candidate is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.adapter import CONFIG, HEAD, REMEDY, WEIGHTS
from trimtab.labels import Labelled
from trimtab.ledger.examples import Example
from workers.artefact import delta_norms
from workers.classifier import continue_from
from workers.contest import importance
from workers.evaluate import Answers, Scorecard, scorecard
from workers.gate import Evidence, Paired, Rows
from workers.gate.evidence import Purpose, Update
from workers.gate.files import problems_of
from workers.gate.updates import accepted_changes, update_of
from workers.health import Health
from workers.material import Material
from workers.poisoning import DataReport, report_of, total_variation
from workers.task import Proposal, Task
from workers.workshop import LoadedVersion, Workshop, load_version

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ANSWERING = (WEIGHTS, CONFIG, HEAD, REMEDY)
PURPOSES = {"reference": Purpose.REFERENCES, "temperature": Purpose.CONFIDENCE, "rebase": Purpose.BASE}
N_PARITY = 64
N_WINDOW = 500  # texts, evenly over the window, whose answers tell its classes
LEAST = 1e-12  # probability whose logarithm is taken
LENGTHS = (16, 64)  # tokens: short below, long from


@dataclass(frozen=True, kw_only=True)
class GateSet:
    """One domain's gate examples: texts, (n,) label indices, clients ("" for none), (n,) weights; named in requests."""

    domain: str
    named: bool
    texts: tuple[str, ...]
    truth: Integers
    clients: tuple[str, ...]
    weights: Doubles

    def answered(self, answers: Answers) -> Scorecard:
        return answers.scorecard(self.texts, self.truth, self.domain if self.named else None)

    def log_probabilities(self, answers: Answers) -> Doubles:
        """(n, k) as served."""
        served = answers.probabilities(self.texts, self.domain if self.named else None)
        return np.log(np.maximum(served.astype(np.float64), LEAST))

    def lengths(self, answers: Answers) -> list[str]:
        if not self.texts:
            return []
        n_tokens = answers.outputs(self.texts).n_tokens
        return [("short", "medium", "long")[i] for i in np.searchsorted(LENGTHS, n_tokens, side="right")]


def weigh(
    shop: Workshop, task: Task, proposal: Proposal, material: Material, health: Health | None = None
) -> Evidence:
    """Everything the gate looks at. Past domains are held against the champion and against the version that was
    first accepted on them, so that small losses do not add up from version to version.

    Under a prior correction an example of a past domain counts by what its class is worth today: `importance`. The new
    domain's own labels have the new shares already. Where one is dropped, nothing is new: the domain that the traffic
    resembles again tells the gain, and domains that entered under the correction are not judged on.
    """
    task.report("gate", 0, 1)
    past = {
        domain: past_set(proposal, material, domain, kept)
        for domain, kept in material.gate_sets.items()
        if domain not in task.retired and not (proposal.back_to and domain in task.shifted)
    }
    new = new_set(task, material)
    problems = problems_of(proposal.candidate.files, task.base, material.model.base_digest)
    parity, n_parity = (float("nan"), 0) if problems else _parity(task, proposal, material)
    weighted = proposal.shares is not None
    return Evidence(
        delta_norms=delta_norms(task.base, proposal.candidate.bundle),
        parity=parity,
        n_parity=n_parity,
        past=tuple(
            Paired(
                domain=domain,
                against=name,
                incumbent=score,
                candidate=each.answered(proposal.answers),
                weights=each.weights if weighted else None,
            )
            for domain, each in past.items()
            for name, score in _incumbents(shop, task, each, material).items()
        ),
        gain=_gain(task, proposal, past.get(proposal.back_to or "", new)),
        # What a dropped correction had turned right may turn wrong again: these answers were accepted before it.
        rows=None if proposal.back_to else rows_of([*past.values(), new], task, proposal, weighted=weighted),
        problems=problems,
        data=data_report(task, material),
        learns=learns_from_labels(proposal),
        update=None if problems else _update(shop, task, proposal),
        uses=material.uses,
        looks=None if proposal.back_to else material.looks,
        purpose=PURPOSES.get(proposal.name, Purpose.ACCURACY),
        changed=changed_files(task.champion.files, proposal.candidate.files),
        health=health,
        by_domain={
            each.domain: rows
            for each in (*past.values(), new)
            if (rows := rows_of([each], task, proposal, weighted=False)) is not None
        },
    )


def _gain(task: Task, proposal: Proposal, judged: GateSet) -> Paired:
    """Where something is to be gained: on the new domain; by dropping a prior correction, on the one that is back."""
    return Paired(
        domain=judged.domain,
        against=f"champion {task.champion.n}",
        incumbent=judged.answered(task.champion.answers),
        candidate=judged.answered(proposal.answers),
        weights=judged.weights if proposal.back_to else None,
    )


def changed_files(champion: Mapping[str, bytes], candidate: Mapping[str, bytes]) -> frozenset[str]:
    """Names of the files that answer and differ."""
    return frozenset(name for name in ANSWERING if champion.get(name) != candidate.get(name))


def past_set(proposal: Proposal, material: Material, domain: str, kept: Sequence[Example]) -> GateSet:
    """A past domain's; weighted where the proposal is a prior correction."""
    truth = material.indices(example.label for example in kept)
    weights = importance(proposal.shares, truth)
    return GateSet(
        domain=domain,
        named=True,  # a shift exists only for domains that clients name
        texts=tuple(example.text for example in kept),
        truth=truth,
        clients=tuple(example.client or "" for example in kept),
        weights=np.ones(len(kept)) if weights is None else weights,
    )


def new_set(task: Task, material: Material) -> GateSet:
    """The new domain's, from the window's labels."""
    rows: tuple[Labelled, ...] = material.rows["gate"]
    return GateSet(
        domain=task.domain,
        named=task.named,
        texts=tuple(row.text for row in rows),
        truth=material.indices(row.label for row in rows),
        clients=tuple(row.client or "" for row in rows),
        weights=np.ones(len(rows)),
    )


def rows_of(sets: Sequence[GateSet], task: Task, proposal: Proposal, *, weighted: bool) -> Rows | None:
    """All gate examples together; None when there are none."""
    sets = [each for each in sets if each.texts]
    if not sets:
        return None
    champion = task.champion.answers
    return Rows(
        truth=np.concatenate([each.truth for each in sets]),
        incumbent=np.concatenate([each.log_probabilities(champion) for each in sets]),
        candidate=np.concatenate([each.log_probabilities(proposal.answers) for each in sets]),
        groups={
            "class": np.array([task.labels[i] for each in sets for i in each.truth]),
            "length": np.array([name for each in sets for name in each.lengths(champion)]),
            "client": np.array([client for each in sets for client in each.clients]),
        },
        weights=np.concatenate([each.weights for each in sets]) if weighted else None,
    )


def learns_from_labels(proposal: Proposal) -> bool:
    """Whether the training part's labels have a part in it: else what is wrong with them does not speak against it."""
    return not proposal.name.startswith(("prior", "temperature", "centre", "known", "reference"))


def data_report(task: Task, material: Material) -> DataReport | None:
    """What the training rows are like, whether they were trained on or not; None where there are none."""
    rows = material.rows["train"]
    if not rows:
        return None
    domain = task.domain if task.named else None
    # The champion cannot say a class that is new: labels of it contradict nothing.
    offered = [row for row in material.offered or rows if row.label not in material.new_labels]
    said = task.champion.answers.probabilities([row.text for row in offered], domain)
    some = task.window_texts[:: max(len(task.window_texts) // N_WINDOW, 1)]
    answered = Counter(task.labels[i] for i in task.champion.answers.predicted(some, domain))
    labelled = Counter(row.label for row in rows if row.label not in material.new_labels)
    return report_of(
        rows,
        offered,
        [task.labels[i] for i in said.argmax(axis=1)],
        said.max(axis=1),
        len(task.labels),
        class_distance=total_variation(labelled, answered),
        capped=material.n_capped,
        copies=material.n_copies,
    )


def _update(shop: Workshop, task: Task, proposal: Proposal) -> Update | None:
    """What is added to the champion's weights; None on another base, where these are not gone on from."""
    if task.base.digest != task.champion.bundle.base.digest:
        return None
    accepted = accepted_changes(shop, task.champion.bundle.model, task.base.digest)
    return update_of(task.champion.files, proposal.candidate.files, accepted)


def _parity(task: Task, proposal: Proposal, material: Material) -> tuple[float, int]:
    """Largest difference of logits, merged against base and adapter apart, and over how many texts."""
    texts = tuple(example.text for example in material.reference[:N_PARITY]) or task.window_texts[:N_PARITY]
    if not texts:
        return 0.0, 0
    network = continue_from(task.base, proposal.candidate.files, len(task.labels), task.seed)
    apart = network.predict_logits(texts, task.max_tokens)
    return float(np.abs(proposal.answers.outputs(texts).logits - apart).max()), len(texts)


def _incumbents(shop: Workshop, task: Task, each: GateSet, material: Material) -> dict[str, Scorecard]:
    """The champion, and the version first accepted on the domain where that is another one."""
    found = {f"champion {task.champion.n}": each.answered(task.champion.answers)}
    kept = material.gate_sets[each.domain]
    first = min(example.version for example in kept)
    if first != task.champion.n:
        found[f"first accepted {first}"] = _first(shop, task, each, kept, material)
    return found


def _first(
    shop: Workshop, task: Task, each: GateSet, kept: Sequence[Example], material: Material
) -> Scorecard:
    """How the version first accepted answered: as was recorded, else it is asked; a later version's word is none."""
    first, bits = min(example.version for example in kept), material.bits.get(each.domain, {})
    recorded = [bits.get(example.key) for example in kept]
    said = [bit.right for bit in recorded if bit is not None and bit.version == first]
    if len(said) == len(kept):
        return scorecard(np.where(said, each.truth, -1), each.truth)
    loaded: dict[int, LoadedVersion] = {version.n: version for version in task.known}
    judge = loaded.get(first) or load_version(shop, task.base, task.champion.bundle.model, first)
    return each.answered(judge.answers)
