"""Signed versions of the demo's model, trained shortly on different domains, in a home as `trimtab serve` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

from benchmarks.serving.dialects import LABELS
from service.demo.model import packaged_model
from trimtab.adapter import (
    REFERENCES,
    AdapterManifest,
    create_keys,
    load_private_key,
    load_public_key,
    verify,
)
from trimtab.base import BaseModel, load_base
from trimtab.bundle import ModelBundle, build_bundle
from trimtab.datafiles import Row
from trimtab.features import References, fit_feature_map
from trimtab.ledger import Ledger, models, versions
from trimtab.ledger.versions import VersionState
from trimtab.settings import Settings
from trimtab.store import AdapterStore
from workers.artefact import N_COMPONENTS, Provenance, draft, seal
from workers.classifier import TrainableClassifier
from workers.fit import Recipe, TrainingSet, fit

MODEL = "bench"
N_REFERENCE = 64


@dataclass(frozen=True)
class Home:
    """A home with a model, its versions and what is needed to build them again."""

    settings: Settings
    base: BaseModel
    # By number.
    bundles: dict[int, ModelBundle]

    @property
    def model(self) -> str:
        return self.bundles[1].model


def settings_of(home: Path) -> Settings:
    """Default settings but for the place and the processor."""
    return Settings(home=home.absolute(), device="cpu")


def make_home(settings: Settings, rows: Sequence[Row], sizes: Sequence[tuple[str, int]]) -> Home:
    """Trains version 1, 2, ... on so many rows of a domain each ("" for all domains); version 1 is champion.

    A home that is there already is used as it is.
    """
    create_keys(settings.private_key_path, settings.public_key_path)
    base = load_base(str(packaged_model()), "cpu")
    ledger, store = Ledger(settings.ledger_url), AdapterStore(settings.store_url)
    ledger.migrate()
    with ledger.read() as tx:
        known = [model.name for model in models.list_models(tx)]
    if MODEL not in known:
        with ledger.begin() as tx:
            models.create_model(tx, MODEL, LABELS, str(packaged_model()), base.digest)
        for n, (domain, size) in enumerate(sizes, start=1):
            chosen = [row for row in rows if domain in {"", row.domain}][:size]
            files, manifest = train(settings, base, n, chosen)
            _record(ledger, store.put(files), manifest)
            print(f"version {n}: trained on {len(chosen)} rows of {domain or 'all domains'}", flush=True)
    ledger.close()
    return open_home(settings, MODEL)


def train(
    settings: Settings, base: BaseModel, n: int, rows: Sequence[Row]
) -> tuple[dict[str, bytes], AdapterManifest]:
    """One signed version: LoRA and head, one epoch over the rows."""
    recipe = Recipe(epochs=1, seed=n, max_tokens=settings.server.max_tokens)
    network = TrainableClassifier(base, len(LABELS), recipe.seed)
    labels = np.array([LABELS.index(row.label) for row in rows], dtype=np.int64)
    texts = tuple(row.text for row in rows)
    report = fit(network, TrainingSet(texts, labels), None, recipe, silent_step)
    candidate = draft(network, model=MODEL, version=n, labels=LABELS, max_tokens=recipe.max_tokens)
    pooled = candidate.bundle.predict(texts[:N_REFERENCE]).pooled
    references = References(fit_feature_map(pooled, LABELS, N_COMPONENTS), {})
    candidate = replace(candidate, files={**candidate.files, REFERENCES: references.to_bytes()})
    provenance = Provenance(
        trigger={"kind": "benchmark"}, data={"rows": len(rows)}, plan={}, training=asdict(report), metrics={}
    )
    return seal(candidate, {"checks": []}, provenance, load_private_key(settings.private_key_path))


def silent_step(step: int, of: int) -> None:
    """No progress is shown."""


def _record(ledger: Ledger, digest: str, manifest: AdapterManifest) -> None:
    with ledger.begin() as tx:
        versions.record_version(
            tx, MODEL, manifest.version, digest, None, VersionState.ACCEPTED,
            manifest=asdict(manifest), gate={"checks": []},
        )  # fmt: skip
        if manifest.version == 1:
            versions.promote(tx, MODEL, 1, actor="benchmark", reason="first version")


def open_home(settings: Settings, model: str) -> Home:
    """The verified bundles of every version of a model. Raises TrimtabError."""
    ledger, store = Ledger(settings.ledger_url), AdapterStore(settings.store_url)
    with ledger.read() as tx:
        base = load_base(models.get_model(tx, model).base, "cpu")
        found = versions.list_versions(tx, model)
    ledger.close()
    digests = {version.n: version.digest for version in found if version.digest}
    return Home(
        settings, base, {n: bundle_of(settings, base, store, digest) for n, digest in digests.items()}
    )


def bundle_of(settings: Settings, base: BaseModel, store: AdapterStore, digest: str) -> ModelBundle:
    """One version as the API builds it. Raises AdapterRefused, StoreUnavailable."""
    files = store.get(digest)
    manifest = verify(files, load_public_key(settings.public_key_path), digest)
    return build_bundle(base, files, manifest=manifest, digest=digest, max_tokens=settings.server.max_tokens)


def export(bundle: ModelBundle, folder: Path) -> Path:
    """The merged version as a plain Hugging Face checkpoint with `head.safetensors`: what peers serve.

    The encoder is loaded anew and given the merged weights, so that nothing of our engine is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = AutoModel.from_pretrained(bundle.base.name, dtype=torch.float32)
    merged = dict(bundle.encoder.state_dict())
    encoder.load_state_dict({name: merged[name] for name in encoder.state_dict()})
    encoder.save_pretrained(folder)
    AutoTokenizer.from_pretrained(bundle.base.name).save_pretrained(folder)
    head = {"weight": bundle.head_weight.contiguous(), "bias": bundle.head_bias.contiguous()}
    save_file(head, folder / "head.safetensors")
    return folder
