"""Runs over the cores: independent runs by number, with progress on the console. Nothing is shared but the cache."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

Record = dict[str, Any]
PROGRESS_EVERY_S = 20.0
# One thread a process: the processes are the parallelism, and two pools would spin against each other.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def run_all(name: str, one: Callable[[int], Record], runs: int, processes: int | None = None) -> list[Record]:
    """`one(number)` for each number below `runs`, in their order. `one` must be picklable: a partial of a function."""
    os.environ.update(THREADS | {"OMP_WAIT_POLICY": "passive"})
    context = multiprocessing.get_context("spawn")
    n = min(processes or os.cpu_count() or 1, runs)
    with ProcessPoolExecutor(max_workers=n, mp_context=context) as pool:
        return list(_with_progress(name, pool.map(one, range(runs)), runs))


def _with_progress(name: str, records: Iterable[Record], of: int) -> Iterable[Record]:
    started = said = time.monotonic()
    for done, record in enumerate(records, 1):
        now = time.monotonic()
        if now - said >= PROGRESS_EVERY_S or done == of:
            said, spent = now, now - started
            print(
                f"  {name}: {done}/{of}, {spent:.0f} s, {spent / done * (of - done):.0f} s to go", flush=True
            )
        yield record
