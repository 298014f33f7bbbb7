"""Baselines of the versions in use: fetched by digest, verified, kept, and calibrated in the background.

Until a calibration is ready the asymptotic thresholds hold; a calibration that was made once is read from the cache
directory (one JSON file each), since the same rows give the same thresholds.
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

from monitoring.calibration import Thresholds, asymptotic_thresholds, calibrate, thin
from monitoring.check import Baseline
from monitoring.ks import Floats
from monitoring.mixture import know_domains
from trimtab.adapter import REFERENCES, verify
from trimtab.errors import AdapterRefused
from trimtab.features import References
from trimtab.store import AdapterStore

log = logging.getLogger(__name__)

MIN_ROWS = 50  # a smaller reference cannot tell drift from its own noise
REVISION = 1  # of the calibration's method: a change makes cached thresholds void


class Baselines:
    """Owns the loaded baselines and the thread that calibrates them.

    Args:
        store: Where versions lie.
        key: Verifies a version before its references are read.
        cache: Directory of the calibrations.
        window: Events in a window.
        checks: Checks between two allowed false alarms.
    """

    def __init__(
        self, store: AdapterStore, key: Ed25519PublicKey, cache: Path, *, window: int, checks: float
    ) -> None:
        self._store, self._key, self._cache = store, key, cache
        self._window, self._checks = window, checks
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
            self._loaded = {digest: self._load(version, digest), **self._of_others()}
            self._running[digest] = self._thread.submit(self._calibrate, self._loaded[digest])
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

    def _of_others(self) -> dict[str, Baseline]:
        """The newest few that were loaded before: a rollback finds its baseline calibrated."""
        return dict(list(self._loaded.items())[:7])

    def _load(self, version: int, digest: str) -> Baseline:
        files = self._store.get(digest)
        verify(files, self._key, digest)
        references = References.from_bytes(files[REFERENCES])
        rows = usable_rows(references.rows)
        if not rows:
            raise AdapterRefused(f"version {version} has no reference of at least {MIN_ROWS} rows")
        known = know_domains(rows)
        names = references.feature_map.names
        thresholds = tuple(
            asymptotic_thresholds(len(each), len(names), self._window, self._checks) for each in known.rows
        )
        log.info("baseline loaded", extra={"version": version, "domains": known.names})
        return Baseline(version, names, known, thresholds)

    def _calibrate(self, baseline: Baseline) -> tuple[Thresholds, ...]:
        return tuple(self._calibrate_domain(rows) for rows in baseline.known.rows)

    def _calibrate_domain(self, rows: Floats) -> Thresholds:
        path = self._cache / f"calibration-{calibration_key(rows, self._window, self._checks)}.json"
        cached = _read(path)
        if cached is not None:
            return cached
        thresholds = calibrate(rows, self._window, self._checks)
        self._cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(thresholds.as_dict()), encoding="utf-8")
        partial.replace(path)
        return thresholds


def _read(path: Path) -> Thresholds | None:
    """Cached thresholds; None when there are none or the file is broken."""
    try:
        return Thresholds(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def usable_rows(rows: Mapping[str, Floats]) -> dict[str, Floats]:
    """The references that are large enough, thinned where they are larger than useful."""
    return {domain: thin(each) for domain, each in rows.items() if len(each) >= MIN_ROWS}


def calibration_key(rows: Floats, window: int, checks: float) -> str:
    """32 hex digits of everything that the thresholds depend on."""
    content = hashlib.sha256(np.ascontiguousarray(rows).tobytes())
    content.update(f"{rows.shape} {rows.dtype} {window} {checks} {REVISION}".encode())
    return content.hexdigest()[:32]
