"""The benchmark's replay memory: so many exemplars in all, chosen as the product chooses them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.adaptation.data import Domain
from trimtab.features import Floats
from trimtab.ledger.examples import Example
from trimtab.splits import key_of
from workers.artefact import Candidate
from workers.fit import ReplaySet, TrainingSet
from workers.memory import choose, priority_of

Exemplar = dict[str, Any]
SALT = "s1"


def remember(kept: Sequence[Exemplar], candidate: Candidate, new: Domain, budget: int) -> list[Exemplar]:
    """Of what is kept and a new domain's training texts the `budget` that the product would keep.

    New ones get the logits of the version that has just learnt them.
    """
    names = candidate.bundle.labels
    fresh = _examples(new.name, new.train.training_set(), names, "memory")
    old = {(each["domain"], key_of(each["text"])): each for each in kept}
    before = [example for domain in _by_domain(kept) for example in _examples(*domain, names, "memory")]
    chosen = choose([*before, *fresh], budget)
    entering = [each for each in chosen if (each.domain, each.key) not in old]
    logits = candidate.answers.outputs([each.text for each in entering]).logits if entering else ()
    told = {
        (each.domain, each.key): _exemplar(each, names, row)
        for each, row in zip(entering, logits, strict=True)
    }
    return [(old | told)[each.domain, each.key] for each in chosen]


def _by_domain(kept: Sequence[Exemplar]) -> Iterator[tuple[str, TrainingSet]]:
    for domain in dict.fromkeys(each["domain"] for each in kept):
        own = [each for each in kept if each["domain"] == domain]
        labels = np.array([each["label"] for each in own], dtype=np.int64)
        yield domain, TrainingSet(tuple(each["text"] for each in own), labels)


def _exemplar(example: Example, names: Sequence[str], logits: Floats) -> Exemplar:
    return {
        "domain": example.domain,
        "text": example.text,
        "label": names.index(example.label or ""),
        "logits": logits.tolist(),
    }


def replay_set(memory: Sequence[Exemplar], n_labels: int) -> ReplaySet:
    """What the training loop replays."""
    return ReplaySet(
        texts=tuple(each["text"] for each in memory),
        labels=np.array([each["label"] for each in memory], dtype=np.int64),
        logits=np.array([each["logits"] for each in memory], dtype=np.float32).reshape(-1, n_labels),
        domains=tuple(each["domain"] for each in memory),
    )


def _examples(domain: str, texts: TrainingSet, names: Sequence[str], role: str) -> list[Example]:
    keyed = [(key_of(text), text) for text in texts.texts]
    return [
        Example(
            model=SALT,
            domain=domain,
            role=role,
            text=text,
            key=key,
            label=names[label],
            priority=priority_of(key, SALT),
        )
        for (key, text), label in zip(keyed, texts.labels, strict=True)
    ]
