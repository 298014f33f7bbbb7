"""What a recipe works with: the opened resources and the settings groups it reads. One owner opens and closes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from trimtab.adapter import load_private_key, load_public_key, verify
from trimtab.base import BaseModel, load_base
from trimtab.bundle import ModelBundle, build_bundle
from trimtab.errors import VersionNotFound
from trimtab.ledger import Ledger
from trimtab.ledger.models import get_model, on_base
from trimtab.ledger.versions import get_version
from trimtab.settings import GateSettings, MemorySettings, Settings, TrainingSettings, TrialSettings
from trimtab.store import AdapterStore, CheckpointStore
from workers.evaluate import Answers


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Ledger, stores, keys, and the settings groups of training, gate, memory and trial."""

    ledger: Ledger
    store: AdapterStore
    checkpoints: CheckpointStore
    private_key: Ed25519PrivateKey
    public_key: Ed25519PublicKey
    training: TrainingSettings
    gate: GateSettings
    memory: MemorySettings
    trial: TrialSettings
    device: str = "auto"
    max_tokens: int = 128
    max_drop: float = 0.03


@dataclass(frozen=True)
class LoadedVersion:
    """A verified version: its number, digest, files and the answers of its merged bundle."""

    n: int
    digest: str
    files: dict[str, bytes]
    answers: Answers

    @property
    def bundle(self) -> ModelBundle:
        return self.answers.bundle


@contextmanager
def open_workshop(settings: Settings) -> Iterator[Workshop]:
    """Opens everything a recipe needs and closes it again. Raises SettingsError."""
    ledger = Ledger(settings.ledger_url)
    try:
        yield Workshop(
            ledger=ledger,
            store=AdapterStore(settings.store_url),
            checkpoints=CheckpointStore(settings.store_url),
            private_key=load_private_key(settings.private_key_path),
            public_key=load_public_key(settings.public_key_path),
            training=settings.training,
            gate=settings.gate,
            memory=settings.memory,
            trial=settings.trial,
            device=settings.device,
            max_tokens=settings.server.max_tokens,
            max_drop=settings.drift.max_accuracy_drop,
        )
    finally:
        ledger.close()


def load_version(shop: Workshop, base: BaseModel | None, model: str, n: int) -> LoadedVersion:
    """Fetches, verifies and merges a version, on this base or on the one of its own that its manifest names.

    Raises AdapterRefused, VersionNotFound, StoreUnavailable, BaseModelMissing.
    """
    with shop.ledger.read() as tx:
        digest, row = get_version(tx, model, n).digest, get_model(tx, model)
    if digest is None:
        raise VersionNotFound(f"version {n} of {model!r} has no files")
    files = shop.store.get(digest)
    manifest = verify(files, shop.public_key, digest)
    if base is None or manifest.base.digest != base.digest:
        base = load_base(on_base(row, manifest.base.name, manifest.base.digest).base, shop.device)
    bundle = build_bundle(base, files, manifest=manifest, digest=digest, max_tokens=shop.max_tokens)
    return LoadedVersion(n, digest, files, Answers(bundle))
