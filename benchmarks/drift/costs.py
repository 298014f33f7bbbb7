"""Part 5: what the monitor costs, in CPU time of one core; beside scipy and the peers in one interleaved run."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from scipy.stats import ks_2samp

from benchmarks.drift.peers import Peer, running
from benchmarks.drift.rules import ks_distances
from benchmarks.drift.streams import correlated_gaussians
from benchmarks.drift.trace import DOMAIN, WINDOWS
from benchmarks.drift.workers import Record, run_all
from monitoring.detector import Detector, Windows
from monitoring.mixture import know_domains
from trimtab.features import Floats

N_REFERENCE = 2000
FEW, MANY = 43, 384  # features
RHO = 0.3
EXACT = "numpy, exact D of a whole window"
RIVER = ("ADWIN", "KSWIN")
RIVER_EVENTS = 2000
MEMORY_EVERY = 50_000  # events between two points of the curve


def run_costs(cached: Path, repeats: int, rounds: int, events: int) -> list[Record]:
    """One record a table: small costs, the interleaved comparison, river per event, and the long run's memory.

    The long run and the repeats have a process of their own, so that what is measured is theirs.
    """
    small = run_all("cost", partial(measure_small, repeats), 1)
    memory = run_all("memory", partial(measure_memory, events), 1)
    return [*small, _interleaved(cached, rounds), _river(cached), *memory]


def measure_small(repeats: int, _: int) -> Record:
    """CPU us an event and a check at 43 features, and the bytes of the state."""
    rows = _rows(N_REFERENCE + WINDOWS.long + WINDOWS.block * repeats, FEW)
    detector = _warm(rows[:N_REFERENCE], rows[N_REFERENCE : N_REFERENCE + WINDOWS.long], WINDOWS)
    taken, read = 0.0, 0.0
    for block in rows[N_REFERENCE + WINDOWS.long :].reshape(repeats, WINDOWS.block, FEW):
        taken += cpu_of(partial(detector.take, block))
        read += cpu_of(detector.read)
    return {
        "name": "small",
        "features": FEW,
        "event_us": 1e6 * taken / (repeats * WINDOWS.block),
        "check_us": 1e6 * read / repeats,
        "state_bytes": state_bytes(detector),
    }


def measure_memory(events: int, _: int) -> Record:
    """Resident memory of a process whose detector takes and reads so many events."""
    rows = _rows(MEMORY_EVERY, FEW)
    detector = _warm(rows[:N_REFERENCE], rows[: WINDOWS.long], WINDOWS)
    process, curve, started = psutil.Process(), [], time.process_time()
    for round_number in range(math.ceil(events / MEMORY_EVERY)):
        for block in rows.reshape(-1, WINDOWS.block, FEW):
            detector.take(block)
            detector.read()
        curve.append((MEMORY_EVERY * (round_number + 1), process.memory_info().rss))
    return {"name": "memory", "curve": curve, "cpu_s": time.process_time() - started}


def cpu_of(act: Callable[[], object]) -> float:
    """CPU seconds of this process that one call takes."""
    started = time.process_time()
    act()
    return time.process_time() - started


def state_bytes(thing: object) -> int:
    """Bytes of all arrays that an object holds, through its attributes and containers, each counted once.

    A view counts as the array behind it: that is what it keeps in memory.
    """
    owners: dict[int, int] = {}
    _collect(thing, set(), owners)
    return sum(owners.values())


def _collect(thing: Any, seen: set[int], owners: dict[int, int]) -> None:
    if id(thing) in seen or isinstance(thing, str | bytes | int | float):
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        owner = thing
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        owners[id(owner)] = owner.nbytes
    elif isinstance(thing, Mapping):
        for each in thing.values():
            _collect(each, seen, owners)
    elif isinstance(thing, Iterable):
        for each in thing:
            _collect(each, seen, owners)
    else:
        _collect(getattr(thing, "__dict__", {}), seen, owners)


def _interleaved(cached: Path, rounds: int) -> Record:
    """CPU ms of a check of 384 features against 2,000 reference rows and a window of 500: everyone in turn."""
    rows = _rows(N_REFERENCE + WINDOWS.long + WINDOWS.block * rounds, MANY)
    reference, stream = rows[:N_REFERENCE], rows[N_REFERENCE:]
    ours = _warm(reference, stream[: WINDOWS.long], WINDOWS)
    spent: dict[str, list[float]] = {}
    versions: dict[str, str] = {}
    with ExitStack() as stack:
        peers = {name: stack.enter_context(running(name, cached)) for name in ("alibi-detect", "evidently")}
        there = {name: peer for name, peer in peers.items() if peer is not None}
        for name, peer in there.items():
            versions[name] = peer.ask("reference", {"reference": reference})
        for number in range(rounds):
            end = WINDOWS.long + WINDOWS.block * (number + 1)
            _one_round(ours, reference, stream[:end], there, spent)
            print(f"  interleaved checks of {MANY} features: {number + 1}/{rounds}", flush=True)
    cpu_ms = {name: 1000 * statistics.median(each) for name, each in spent.items()}
    missing = [name for name, peer in peers.items() if peer is None]
    return {
        "name": "interleaved",
        "cpu_ms": cpu_ms,
        "versions": versions,
        "rounds": rounds,
        "missing": missing,
    }


def _one_round(
    ours: Detector, reference: Floats, seen: Floats, peers: dict[str, Peer], spent: dict[str, list[float]]
) -> None:
    window, block = seen[-WINDOWS.short :], seen[-WINDOWS.block :]
    costs = {
        "Trimtab, 50 events taken": cpu_of(lambda: ours.take(block)),
        "Trimtab, check of both windows": cpu_of(ours.read),
        EXACT: cpu_of(lambda: ks_distances(np.sort(reference, axis=0), np.sort(window, axis=0))),
        "scipy ks_2samp in a loop": cpu_of(lambda: _scipy_loop(reference, window, "auto")),
        "scipy in a loop, method=asymp": cpu_of(lambda: _scipy_loop(reference, window, "asymp")),
    }
    costs |= {name: peer.ask("check", {"window": window})["cpu_s"] for name, peer in peers.items()}
    for name, cost in costs.items():
        spent.setdefault(name, []).append(cost)


def _scipy_loop(reference: Floats, window: Floats, method: Any) -> None:
    for old, new in zip(reference.T, window.T, strict=True):
        ks_2samp(old, new, method=method)


def _river(cached: Path) -> Record:
    """CPU us an event and feature of river's detectors."""
    with running("river", cached) as peer:
        if peer is None:
            return {"name": "river", "event_us": {}}
        rows = {"rows": _rows(RIVER_EVENTS, 1)}
        return {
            "name": "river",
            "event_us": {each: 1e6 * peer.ask("cost", rows, detector=each) for each in RIVER},
        }


def _warm(reference: Floats, stream: Floats, windows: Windows) -> Detector:
    """A copy of the reference, as in production: a view would keep all rows that it was cut from."""
    detector = Detector(know_domains({DOMAIN: reference.copy()}), windows)
    detector.take(stream)
    return detector


def _rows(n: int, d: int) -> Floats:
    return correlated_gaussians(n, d, RHO, np.random.default_rng(5))
