"""The files of a version: drafted from the trained network, completed with references and gate, signed."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from importlib.metadata import version as installed_version
from typing import Any

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trimtab.adapter import GATE, REFERENCES, REMEDY, AdapterManifest, Golden, file_digests, sign
from trimtab.base import BaseModel
from trimtab.bundle import ModelBundle, Remedy, build_bundle, golden_of
from trimtab.features import FeatureMap, Integers, References, fit_feature_map
from trimtab.ledger.examples import Example
from workers.classifier import TrainableClassifier
from workers.evaluate import Answers
from workers.progress import Report

N_COMPONENTS = 32
LIBRARIES = ("torch", "transformers", "peft", "numpy", "safetensors")


@dataclass(frozen=True)
class Candidate:
    """A trained version before it is sealed: its files so far, and its merged bundle, built from those very bytes."""

    files: Mapping[str, bytes]
    answers: Answers

    @property
    def bundle(self) -> ModelBundle:
        return self.answers.bundle


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Why and from what a version was made; copied into its manifest."""

    parent: int | None = None
    parent_digest: str | None = None
    trigger: Mapping[str, Any]
    data: Mapping[str, Any]
    plan: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]


def draft(
    network: TrainableClassifier, *, model: str, version: int, labels: Sequence[str], max_tokens: int
) -> Candidate:
    """Merges the trained network; raises MalformedAdapter when a weight is not finite."""
    return draft_of(
        network.base, network.files(), model=model, version=version, labels=labels, max_tokens=max_tokens
    )


def draft_of(
    base: BaseModel,
    weights: Mapping[str, bytes],
    *,
    model: str,
    version: int,
    labels: Sequence[str],
    max_tokens: int,
) -> Candidate:
    """Merges the files of a LoRA and a head, without a remedy; raises MalformedAdapter when they do not fit."""
    nothing = FeatureMap(
        np.zeros(base.hidden_size, np.float32), np.zeros((1, base.hidden_size), np.float32), tuple(labels)
    )
    files = {
        **weights,
        REMEDY: Remedy().to_bytes(),
        REFERENCES: References(nothing, {}).to_bytes(),
        GATE: b"{}",
    }
    manifest = _manifest(base, files, model, version, labels, Golden(texts=(), logits=()))
    bundle = build_bundle(base, files, manifest=manifest, digest="", max_tokens=max_tokens)
    return Candidate(files, Answers(bundle))


def with_references(
    candidate: Candidate,
    found: Mapping[str, Sequence[Example]],
    report: Report,
    *,
    projected: Sequence[str],
    ordered: AbstractSet[str],
    anchors: Sequence[str],
) -> Candidate:
    """Scores the reference texts of every domain by the candidate.

    The projection is the candidate's own (at most 32 components, fewer when there are fewer texts) and travels with
    the rows, so that the API makes rows of the same layout for the traffic that this version answers.

    Args:
        found: examples by domain, none of them trained on; a domain without any has no reference.
        projected: texts that the projection is fitted on. No reference text: principal components vary more on the
            rows that they are fitted on than on any others, and the monitor would take the difference for drift.
        ordered: domains whose examples are in order of time.
        anchors: domains of the first version.
    """
    kept = {domain: examples for domain, examples in found.items() if examples}
    texts = {domain: [example.text for example in examples] for domain, examples in kept.items()}
    every = [*projected, *(text for each in texts.values() for text in each)]
    outputs = candidate.answers.outputs(every, lambda done, of: report("references", done, of))
    feature_map = fit_feature_map(outputs.pooled[: len(projected)], candidate.bundle.labels, N_COMPONENTS)
    references = References(
        feature_map,
        rows={
            domain: feature_map.rows(candidate.answers.outputs(each), each) for domain, each in texts.items()
        },
        truth={domain: _truth(candidate, examples) for domain, examples in kept.items()},
        predicted={domain: candidate.answers.predicted(each) for domain, each in texts.items()},
        keys={domain: tuple(example.key for example in examples) for domain, examples in kept.items()},
        ordered=frozenset(ordered) & kept.keys(),
        anchors=tuple(anchors),
    )
    return replace(candidate, files={**candidate.files, REFERENCES: references.to_bytes()})


def _truth(candidate: Candidate, examples: Sequence[Example]) -> Integers:
    """(n,) label indices, -1 for an example without a label of this model."""
    number = {label: i for i, label in enumerate(candidate.bundle.labels)}
    return np.array([number.get(example.label or "", -1) for example in examples], dtype=np.int64)


def seal(
    candidate: Candidate, gate: Mapping[str, Any], provenance: Provenance, key: Ed25519PrivateKey
) -> tuple[dict[str, bytes], AdapterManifest]:
    """Every file of the version, with the gate's verdict inside and the signed manifest over all."""
    bundle = candidate.bundle
    files = {**candidate.files, GATE: json.dumps(gate, sort_keys=True, allow_nan=False).encode()}
    manifest = _manifest(bundle.base, files, bundle.model, bundle.version, bundle.labels, golden_of(bundle))
    manifest = replace(manifest, **vars(provenance))
    return files | sign(manifest, key), manifest


def library_versions() -> dict[str, str]:
    """What the numbers depend on, for the manifest."""
    return {name: installed_version(name) for name in LIBRARIES} | {"python": platform.python_version()}


def delta_norms(base: BaseModel, bundle: ModelBundle) -> dict[str, float]:
    """||W' - W||_F / ||W||_F of every weight that the merge changed."""
    before = dict(base.encoder.named_parameters())
    changed = {name: w for name, w in bundle.encoder.named_parameters() if w is not before[name]}
    return {
        name: float(torch.linalg.norm(w - before[name]) / torch.linalg.norm(before[name]))
        for name, w in changed.items()
    }


def _manifest(
    base: BaseModel,
    files: Mapping[str, bytes],
    model: str,
    version: int,
    labels: Sequence[str],
    golden: Golden,
) -> AdapterManifest:
    return AdapterManifest(
        model=model,
        version=version,
        created_at=time.time(),
        labels=tuple(labels),
        base=base.identity,
        files=file_digests(files),
        golden=golden,
    )
