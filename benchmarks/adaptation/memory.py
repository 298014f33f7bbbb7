"""The benchmark's replay memory: so many exemplars of every domain, chosen as the product chooses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.adaptation.data import Domain
from trimtab.ledger.examples import Example
from trimtab.splits import key_of
from workers.artefact import Candidate
from workers.fit import ReplaySet
from workers.memory import choose, priority_of

Exemplar = dict[str, Any]
SALT = "s1"


def exemplars(candidate: Candidate, domain: Domain, n: int) -> list[Exemplar]:
    """n training texts of a domain with the logits of the version that has just learnt it."""
    chosen = choose(_examples(domain), n)
    if not chosen:
        return []
    logits = candidate.answers.outputs([each.text for each in chosen]).logits
    return [
        {"domain": each.domain, "text": each.text, "label": int(each.label or 0), "logits": row.tolist()}
        for each, row in zip(chosen, logits, strict=True)
    ]


def replay_set(memory: Sequence[Exemplar], n_labels: int) -> ReplaySet:
    """What the training loop replays."""
    return ReplaySet(
        texts=tuple(each["text"] for each in memory),
        labels=np.array([each["label"] for each in memory], dtype=np.int64),
        logits=np.array([each["logits"] for each in memory], dtype=np.float32).reshape(-1, n_labels),
        domains=tuple(each["domain"] for each in memory),
    )


def _examples(domain: Domain) -> list[Example]:
    keyed = [(key_of(text), text) for text in domain.train.texts]
    return [
        Example(
            model=SALT,
            domain=domain.name,
            role="memory",
            text=text,
            key=key,
            label=str(label),
            priority=priority_of(key, SALT),
        )
        for (key, text), label in zip(keyed, domain.train.labels, strict=True)
    ]
