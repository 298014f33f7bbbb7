"""The benchmark's replay memory: so many exemplars of every domain, chosen as the product chooses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.adaptation.data import Domain
from trimtab.ledger.examples import Example
from trimtab.splits import key_of
from workers.artefact import Candidate, with_references
from workers.fit import ReplaySet, TrainingSet
from workers.memory import choose, priority_of
from workers.progress import silent
from workers.workshop import LoadedVersion

Exemplar = dict[str, Any]
SALT = "s1"


def exemplars(candidate: Candidate, domain: Domain, n: int) -> list[Exemplar]:
    """n training texts of a domain with the logits of the version that has just learnt it."""
    names = candidate.bundle.labels
    chosen = choose(_examples(domain.name, domain.train.training_set(), names, "memory"), n)
    if not chosen:
        return []
    logits = candidate.answers.outputs([each.text for each in chosen]).logits
    return [
        {
            "domain": each.domain,
            "text": each.text,
            "label": names.index(each.label or ""),
            "logits": row.tolist(),
        }
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


def referenced(
    version: LoadedVersion, past: Mapping[str, TrainingSet], projected: Sequence[str]
) -> LoadedVersion:
    """The version with drift references of the past domains' selection texts: what a calibration is read off."""
    found = {name: _examples(name, each, version.bundle.labels, "reference") for name, each in past.items()}
    candidate = Candidate(version.files, version.answers)
    made = with_references(
        candidate, found, silent, projected=projected, ordered=frozenset(), anchors=[*past][:1]
    )
    return replace(version, files=dict(made.files))


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
