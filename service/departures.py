"""Versions that no alias keeps any more: each goes when the last request lets go of it, and its memory with it.

Nobody waits for that, so one model's slow request delays no other's swap.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections import deque
from dataclasses import dataclass, replace

from service.memory import release_memory
from trimtab import metrics
from trimtab.bundle import ModelBundle

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leaving:
    """One version on its way out. Nothing here may hold the bundle itself."""

    name: str
    bundle: weakref.ref[ModelBundle]
    # On the monotonic clock.
    overdue_at: float


class Departures:
    """Follows bundles until they are gone. For one thread; whoever lets go last may be another."""

    def __init__(self, patience_s: float) -> None:
        """patience_s: how long a version may be held before it is a warning, and between two warnings."""
        self._patience_s = patience_s
        self._leaving: list[Leaving] = []
        # How long each that is gone was held; written at the moment it goes, where nothing else may be done.
        self._drained_s: deque[float] = deque()

    def add(self, bundle: ModelBundle) -> None:
        """This bundle is left to the requests that hold it."""
        since, drained_s = time.monotonic(), self._drained_s
        held = weakref.ref(bundle, lambda _: drained_s.append(time.monotonic() - since))
        name = f"version {bundle.version} of {bundle.model}"
        self._leaving.append(Leaving(name, held, since + self._patience_s))

    def look(self) -> None:
        """Accounts for those that went, gives their memory back, and warns of those that are held for long."""
        for _ in range(len(self._drained_s)):
            metrics.SWAP_PHASE_DURATION.labels("drain").observe(self._drained_s.popleft())
        held = [leaving for leaving in self._leaving if leaving.bundle() is not None]
        if len(held) < len(self._leaving):
            release_memory()
        self._leaving = [self._warned(leaving, time.monotonic()) for leaving in held]

    def _warned(self, leaving: Leaving, now: float) -> Leaving:
        if now < leaving.overdue_at:
            return leaving
        _log.warning("%s still has requests", leaving.name)
        return replace(leaving, overdue_at=now + self._patience_s)
