"""One version from the store to a bundle that may serve: fetch, verify, build, self-test, warm up.

Nothing here touches what serves: whatever fails, the incumbent goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from trimtab import metrics
from trimtab.adapter import verify
from trimtab.base import BaseModel, load_base
from trimtab.bundle import GOLDEN_TEXTS, MICRO_BATCH, ModelBundle, build_bundle, self_test
from trimtab.errors import AdapterRefused, MalformedAdapter, TrimtabError
from trimtab.ledger.models import ModelRow
from trimtab.ledger.versions import Version
from trimtab.store import AdapterStore

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why a version could not be loaded here; a refusal is final, anything else is tried again later."""

    reason: str
    final: bool
    attempts: int
    # On the monotonic clock.
    retry_at: float


class Loader:
    """Loads versions, remembers what failed, and keeps the base models. For one thread."""

    def __init__(self, store: AdapterStore, key: Ed25519PublicKey, *, device: str, max_tokens: int) -> None:
        self._store = store
        self._key = key
        self._device = device
        self._max_tokens = max_tokens
        self._bases: dict[str, BaseModel] = {}
        self._failures: dict[tuple[str, int, str], Failure] = {}

    def load(self, model: ModelRow, version: Version) -> ModelBundle | Failure:
        """A new bundle, or why not; what failed is not tried at every call."""
        before = self.failure(version)
        if before is not None and (before.final or time.monotonic() < before.retry_at):
            return before
        try:
            bundle = prepare_bundle(
                self._store,
                self._key,
                self._base(model.base),
                model=model.name,
                version=version.n,
                digest=version.digest or "",
                max_tokens=self._max_tokens,
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, the incumbent serves on and the reason is shown
            return self._remember(version, error, before)
        self._failures.pop(_slot(version), None)
        return bundle

    def failure(self, version: Version) -> Failure | None:
        """Why this version is not loaded here, if it was tried."""
        return self._failures.get(_slot(version))

    def failures(self, model: str) -> dict[int, str]:
        """{version: reason} of everything that failed here."""
        return {n: failure.reason for (name, n, _), failure in self._failures.items() if name == model}

    def _base(self, name: str) -> BaseModel:
        if name not in self._bases:
            with phase("load_base"):
                self._bases[name] = load_base(name, self._device)
        return self._bases[name]

    def _remember(self, version: Version, error: Exception, before: Failure | None) -> Failure:
        ours = isinstance(error, TrimtabError)
        attempts = (before.attempts if before else 0) + 1
        failure = Failure(
            reason=f"{type(error).__name__}: {error}" if ours else type(error).__name__,
            final=isinstance(error, AdapterRefused),
            attempts=attempts,
            retry_at=time.monotonic() + min(_FIRST_RETRY_S * 2.0 ** (attempts - 1), _LONGEST_RETRY_S),
        )
        self._failures[_slot(version)] = failure
        metrics.SWAPS.labels(version.model, "refused" if failure.final else "failed").inc()
        _log.warning(
            "version %d of %s is not loaded: %s",
            version.n,
            version.model,
            failure.reason,
            exc_info=None if ours else error,
        )
        return failure


def _slot(version: Version) -> tuple[str, int, str]:
    return version.model, version.n, version.digest or ""


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Times a phase of a swap."""
    started = time.perf_counter()
    try:
        yield
    finally:
        metrics.SWAP_PHASE_DURATION.labels(name).observe(time.perf_counter() - started)


def prepare_bundle(
    store: AdapterStore,
    key: Ed25519PublicKey,
    base: BaseModel,
    *,
    model: str,
    version: int,
    digest: str,
    max_tokens: int,
) -> ModelBundle:
    """A bundle that proved itself.

    Raises:
        AdapterRefused: signature, digests, base, tensors or golden outputs are not what they must be.
        VersionNotFound, StoreUnavailable: the files cannot be had.
    """
    with phase("fetch"):
        files = store.get(digest)
    with phase("verify"):
        manifest = verify(files, key, digest)
        if (manifest.model, manifest.version) != (model, version):
            raise MalformedAdapter(
                f"the manifest is of version {manifest.version} of {manifest.model}, not {version} of {model}"
            )
    with phase("build"):
        bundle = build_bundle(base, files, manifest=manifest, digest=digest, max_tokens=max_tokens)
    with phase("self_test"):
        self_test(bundle, manifest.golden)
    with phase("warm_up"):
        _warm_up(bundle)
    return bundle


def _warm_up(bundle: ModelBundle) -> None:
    """The shapes of traffic: one text, a few, a full micro-batch of long ones."""
    long_text = " ".join(GOLDEN_TEXTS)
    for texts in (GOLDEN_TEXTS[:1], GOLDEN_TEXTS, (long_text,) * MICRO_BATCH):
        bundle.predict(texts)
