"""What `/metrics` says: of this process alone, or of all API processes that share the port.

Several processes write their values to files in one directory (PROMETHEUS_MULTIPROC_DIR, prometheus_client's
multiprocess mode); whichever is asked adds them up. Counters of a process that ended stay counted; its gauges go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from service.children import is_alive

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_PID = re.compile(r"gauge_live\w*?_(\d+)\.db$")


def exposition() -> bytes:
    """Every metric in the Prometheus text format."""
    directory = os.environ.get(DIRECTORY)
    if directory is None:
        return generate_latest()
    _forget_the_dead(Path(directory))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def drop_series(gauge: Gauge, *labels: str) -> None:
    """Takes a series away; where processes share their metrics it can only be set to 0."""
    gauge.labels(*labels).set(0)
    if DIRECTORY not in os.environ:
        gauge.remove(*labels)


@contextmanager
def shared_metrics() -> Iterator[None]:
    """Processes that are started meanwhile add their metrics up. For the one that starts them."""
    with TemporaryDirectory(prefix="trimtab-metrics-") as directory:
        os.environ[DIRECTORY] = directory
        try:
            yield
        finally:
            del os.environ[DIRECTORY]


def _forget_the_dead(directory: Path) -> None:
    for pid in {int(match[1]) for file in directory.iterdir() if (match := _PID.match(file.name))}:
        if not is_alive(pid):
            mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
