"""Baselines of the versions in use: fetched by digest, verified, kept, and calibrated in the background.

Until a calibration is ready safe thresholds hold; a calibration that was made once is read from the cache directory
(one JSON file each), since the same rows give the same thresholds.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from monitoring.calibration import Thresholds, calibrate, safe_thresholds
from monitoring.check import Baseline
from monitoring.detector import Windows
from monitoring.histograms import Floats
from monitoring.mixture import KnownDomains, know_domains
from trimtab.adapter import REFERENCES, verify
from trimtab.errors import AdapterRefused
from trimtab.features import References
from trimtab.store import AdapterStore

log = logging.getLogger(__name__)

MIN_ROWS = 50  # a smaller reference cannot tell drift from its own noise
REVISION = 4  # of the calibration's method: a change makes cached thresholds void


class Baselines:
    """Owns the loaded baselines and the thread that calibrates them.

    Args:
        store: Where versions lie.
        key: Verifies a version before its references are read.
        cache: Directory of the calibrations.
        windows: Sizes of block and windows.
        checks: Checks between two allowed false alarms.
    """

    def __init__(
        self, store: AdapterStore, key: Ed25519PublicKey, cache: Path, *, windows: Windows, checks: float
    ) -> None:
        self._store, self._key, self._cache = store, key, cache
        self.windows, self.checks = windows, checks
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="calibrate")
        self._loaded: dict[str, Baseline] = {}
        self._running: dict[str, Future[tuple[Thresholds, ...]]] = {}

    def of(self, version: int, digest: str) -> Baseline:
        """The baseline of a version, with the best thresholds there are by now.

        Raises:
            AdapterRefused: the version's files cannot be trusted or hold no usable reference.
            StoreUnavailable, VersionNotFound: they cannot be had now.
        """
        if digest not in self._loaded:
            self._keep(digest, self._load(version, digest))
        running = self._running.get(digest)
        if running is not None and running.done():
            del self._running[digest]
            self._loaded[digest] = replace(self._loaded[digest], thresholds=running.result())
        return self._loaded[digest]

    def wait_until_calibrated(self, timeout_s: float) -> None:
        """Return when every calibration under way has ended; raises TimeoutError."""
        for running in list(self._running.values()):
            running.result(timeout=timeout_s)

    def close(self) -> None:
        """End the thread; a calibration under way is finished, not begun ones are dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _keep(self, digest: str, baseline: Baseline) -> None:
        """Newest first, and a few of those before: a rollback finds its baseline calibrated."""
        self._loaded = {digest: baseline, **dict(list(self._loaded.items())[:7])}
        if not baseline.calibrated:
            self._running[digest] = self._thread.submit(self._calibrate, baseline)

    def _load(self, version: int, digest: str) -> Baseline:
        references = load_references(self._store, self._key, digest)
        rows = usable_rows(references.rows)
        if not rows:
            raise AdapterRefused(f"version {version} has no reference of at least {MIN_ROWS} rows")
        known = know_domains(rows)
        baseline = Baseline(version, known, references, self._safe(known))
        log.info("baseline loaded", extra={"version": version, "domains": known.names})
        cached = [_read(self._path(baseline, i)) for i in range(len(known.names))]
        found = tuple(each for each in cached if each is not None)
        return replace(baseline, thresholds=found) if len(found) == len(cached) else baseline

    def _safe(self, known: KnownDomains) -> tuple[Thresholds, ...]:
        return tuple(
            safe_thresholds(len(rows), known.n_features, self.windows, self.checks) for rows in known.rows
        )

    def _calibrate(self, baseline: Baseline) -> tuple[Thresholds, ...]:
        return tuple(self._calibrate_domain(baseline, i) for i in range(len(baseline.known.names)))

    def _calibrate_domain(self, baseline: Baseline, i: int) -> Thresholds:
        path, known = self._path(baseline, i), baseline.known
        cached = _read(path)
        if cached is not None:
            return cached
        ordered = known.names[i] in baseline.references.ordered
        thresholds = calibrate(known.rows[i], known.edges, self.windows, self.checks, ordered=ordered)
        self._cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(thresholds.to_json()), encoding="utf-8")
        partial.replace(path)
        return thresholds

    def _path(self, baseline: Baseline, i: int) -> Path:
        known = baseline.known
        ordered = known.names[i] in baseline.references.ordered
        key = calibration_key(known.rows[i], known.edges, self.windows, self.checks, ordered=ordered)
        return self._cache / f"calibration-{key}.json"


def load_references(store: AdapterStore, key: Ed25519PublicKey, digest: str) -> References:
    """The references of a stored version, verified.

    Raises:
        AdapterRefused: the files cannot be trusted.
        StoreUnavailable, VersionNotFound: they cannot be had now.
    """
    files = store.get(digest)
    verify(files, key, digest)
    return References.from_bytes(files[REFERENCES])


def usable_rows(rows: Mapping[str, Floats]) -> dict[str, Floats]:
    """The references that are large enough."""
    return {domain: each for domain, each in rows.items() if len(each) >= MIN_ROWS}


def calibration_key(rows: Floats, edges: Floats, windows: Windows, checks: float, *, ordered: bool) -> str:
    """32 hex digits of everything that the thresholds depend on."""
    content = hashlib.sha256(np.ascontiguousarray(rows).tobytes())
    content.update(np.ascontiguousarray(edges).tobytes())
    content.update(f"{rows.shape} {rows.dtype} {windows} {checks} {ordered} {REVISION}".encode())
    return content.hexdigest()[:32]


def _read(path: Path) -> Thresholds | None:
    """Cached thresholds; None when there are none or the file is broken."""
    try:
        return Thresholds.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None
