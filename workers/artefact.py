"""The files of a version: drafted from the trained network, completed with references and gate, signed."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as installed_version
from typing import Any

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trimtab.adapter import GATE, REFERENCES, REMEDY, AdapterManifest, Golden, file_digests, sign
from trimtab.base import BaseModel
from trimtab.bundle import ModelBundle, Remedy, build_bundle, golden_of
from trimtab.features import FeatureMap, References, fit_feature_map
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
    base = network.base
    nothing = FeatureMap(
        np.zeros(base.hidden_size, np.float32), np.zeros((1, base.hidden_size), np.float32), tuple(labels)
    )
    files = network.files() | {
        REMEDY: Remedy().to_bytes(),
        REFERENCES: References(nothing, {}).to_bytes(),
        GATE: b"{}",
    }
    manifest = _manifest(base, files, model, version, labels, Golden(texts=(), logits=()))
    bundle = build_bundle(base, files, manifest=manifest, digest="", max_tokens=max_tokens)
    return Candidate(files, Answers(bundle))


def with_references(candidate: Candidate, texts: Mapping[str, Sequence[str]], report: Report) -> Candidate:
    """Scores the reference texts of every domain by the candidate; the projection is fitted on all of them.

    The projection is the candidate's own (at most 32 components, fewer when there are fewer texts) and travels with
    the rows, so that the API makes rows of the same layout for the traffic that this version answers.
    """
    every = [text for its_texts in texts.values() for text in its_texts]
    pooled = candidate.answers.outputs(every, lambda done, of: report("references", done, of)).pooled
    feature_map = fit_feature_map(pooled, candidate.bundle.labels, N_COMPONENTS)
    rows = {
        domain: feature_map.rows(candidate.answers.outputs(its_texts), its_texts)
        for domain, its_texts in texts.items()
        if its_texts
    }
    files = {**candidate.files, REFERENCES: References(feature_map, rows).to_bytes()}
    return replace(candidate, files=files)


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
