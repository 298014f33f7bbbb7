"""One version from the store to a bundle that may serve: fetch, verify, build, self-test, warm up.

Nothing here touches what serves: whatever fails, the incumbent goes on.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from trimtab import metrics
from trimtab.adapter import AdapterManifest, verify
from trimtab.base import BaseModel, load_base
from trimtab.bundle import (
    GOLDEN_TEXTS,
    ModelBundle,
    at_precision,
    build_bundle,
    probability_shift,
    self_test,
)
from trimtab.errors import AdapterRefused, InsufficientMemory, MalformedAdapter, TrimtabError
from trimtab.kernels import Reducer
from trimtab.ledger.models import ModelRow, on_base
from trimtab.ledger.versions import Served
from trimtab.settings import ServerSettings
from trimtab.store import AdapterStore

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why a version could not be loaded here; a refusal is final, anything else is tried again later."""

    reason: str
    final: bool
    # It did not fit beside what is loaded.
    no_room: bool
    attempts: int
    # On the monotonic clock.
    retry_at: float


class Loader:
    """Loads versions, remembers what failed, and keeps the base models. For one thread."""

    def __init__(
        self, store: AdapterStore, key: Ed25519PublicKey, *, device: str, server: ServerSettings
    ) -> None:
        self._store = store
        self._key = key
        self._device = device
        self._server = server
        self._bases: dict[str, BaseModel] = {}
        self._reducers: dict[str, Reducer] = {}
        # Those that drain are among them: their memory is not free yet.
        self._loaded: weakref.WeakSet[ModelBundle] = weakref.WeakSet()
        self._failures: dict[tuple[str, int, str], Failure] = {}

    def load(self, model: ModelRow, version: Served) -> ModelBundle | Failure:
        """A new bundle, or why not; what failed is not tried at every call."""
        before = self.failure(version)
        if before is not None and (before.final or time.monotonic() < before.retry_at):
            return before
        try:
            bundle = self._prepare(model, version)
        except Exception as error:  # noqa: BLE001  # whatever it is, the incumbent serves on and the reason is shown
            return self._remember(version, error, before)
        self._failures.pop(_slot(version), None)
        self._loaded.add(bundle)
        return bundle

    @property
    def used_bytes(self) -> int:
        """Memory of all versions that somebody still holds, without their bases."""
        return sum(bundle.own_bytes for bundle in self._loaded)

    def failure(self, version: Served) -> Failure | None:
        """Why this version is not loaded here, if it was tried."""
        return self._failures.get(_slot(version))

    def failures(self, model: str) -> dict[int, str]:
        """{version: reason} of everything that failed here."""
        return {n: failure.reason for (name, n, _), failure in self._failures.items() if name == model}

    def _prepare(self, model: ModelRow, version: Served) -> ModelBundle:
        """A bundle that proved itself.

        Raises:
            AdapterRefused: signature, digests, base, tensors or golden outputs are not what they must be.
            VersionNotFound, StoreUnavailable: the files cannot be had.
            InsufficientMemory: it does not fit beside what is loaded.
        """
        digest = version.digest or ""
        with phase("fetch"):
            files = self._store.get(digest)
        with phase("verify"):
            manifest = verify(files, self._key, digest)
            _check_name(manifest, version)
        base = self._base(on_base(model, manifest.base.name, manifest.base.digest).base)
        with phase("build"):
            bundle = build_bundle(
                base, files, manifest=manifest, digest=digest, max_tokens=self._server.max_tokens
            )
        self._check_room(bundle)
        with phase("self_test"):
            self_test(bundle, manifest.golden)
        bundle = self._reduce(bundle)
        with phase("warm_up"):
            _warm_up(bundle)
        return bundle

    def _check_room(self, bundle: ModelBundle) -> None:
        used, most = self.used_bytes, self._server.max_variants_bytes
        if used + bundle.own_bytes > most:
            raise InsufficientMemory(
                f"{bundle.own_bytes / 1e6:.1f} MB are needed, {used / 1e6:.1f} of {most / 1e6:.1f} MB are in use"
            )

    def _reduce(self, bundle: ModelBundle) -> ModelBundle:
        """The bundle in the precision that is set, unless it would answer too differently."""
        precision, most = self._server.precision, self._server.max_precision_shift
        if precision == "fp32":
            return bundle
        with phase("reduce"):
            reducer = self._reducers.get(bundle.base.digest) or Reducer(
                bundle.base.encoder, precision, bundle.base.device
            )
            self._reducers[bundle.base.digest] = reducer
            reduced = at_precision(bundle, reducer)
            shift = probability_shift(bundle, reduced)
        if shift <= most:
            return reduced
        metrics.SWAPS.labels(bundle.model, "precision_refused").inc()
        message = "version %d of %s serves in fp32: %s moves %.3f of its probability, allowed is %.3f"
        _log.warning(message, bundle.version, bundle.model, precision, shift, most)
        return bundle

    def _base(self, name: str) -> BaseModel:
        if name not in self._bases:
            with phase("load_base"):
                self._bases[name] = load_base(name, self._device)
        return self._bases[name]

    def _remember(self, version: Served, error: Exception, before: Failure | None) -> Failure:
        ours = isinstance(error, TrimtabError)
        attempts = (before.attempts if before else 0) + 1
        failure = Failure(
            reason=f"{type(error).__name__}: {error}" if ours else type(error).__name__,
            final=isinstance(error, AdapterRefused),
            no_room=isinstance(error, InsufficientMemory),
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


def _slot(version: Served) -> tuple[str, int, str]:
    return version.model, version.n, version.digest or ""


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Times a phase of a swap."""
    started = time.perf_counter()
    try:
        yield
    finally:
        metrics.SWAP_PHASE_DURATION.labels(name).observe(time.perf_counter() - started)


def _check_name(manifest: AdapterManifest, version: Served) -> None:
    if (manifest.model, manifest.version) != (version.model, version.n):
        raise MalformedAdapter(
            f"the manifest is of version {manifest.version} of {manifest.model}, "
            f"not {version.n} of {version.model}"
        )


def _warm_up(bundle: ModelBundle) -> None:
    """One text and a few: the weights are paged in, and the kernels know their shapes."""
    for texts in (GOLDEN_TEXTS[:1], GOLDEN_TEXTS):
        bundle.predict(texts)
