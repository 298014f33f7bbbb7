"""River's ADWIN and KSWIN over the same streams: ADWIN on every feature, KSWIN on the largest probability alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drift.changes import CHANGES, load_world
from benchmarks.drift.corpus import SOURCE
from benchmarks.drift.false_alarms import CONDITIONS, Condition, traffic
from benchmarks.drift.peers import Peer, running
from benchmarks.drift.workers import Record
from trimtab.features import Floats

ADWIN, KSWIN = "ADWIN, any feature", "KSWIN, largest probability"
KSWIN_WARM = 200  # its window holds 100 events
N_REFERENCE, WARM_UP = 2000, 2000
GAUSSIAN_COLUMN = 0


def run_alarms(cached: Path, runs: int) -> list[Record]:
    """By condition the events at the first alarm of each detector, which has seen the reference before."""
    names = load_world(cached).corpus.maps["last"].names
    with running("river", cached) as peer:
        return [] if peer is None else list(_alarms(peer, cached, runs, names.index("max_prob")))


def run_delays(cached: Path, runs: int) -> list[Record]:
    """One record a run: by change and detector the events to the first alarm after the change."""
    with running("river", cached) as peer:
        return [] if peer is None else [_delays(peer, cached, number) for number in range(runs)]


def _alarms(peer: Peer, cached: Path, runs: int, column: int) -> Iterator[Record]:
    for condition in CONDITIONS:
        for number in range(runs):
            random = np.random.default_rng([17, number])
            reference, stream = traffic(condition, cached, random)
            first = _firsts(peer, reference, stream, _column(condition, column))
            yield {"condition": condition.name, "first": first}
        print(f"  river, {condition.name}: {runs} runs", flush=True)


def _delays(peer: Peer, cached: Path, number: int) -> Record:
    world, random = load_world(cached), np.random.default_rng([29, number])
    order = random.permutation(world.corpus.fresh(SOURCE))
    warm, pool = order[: N_REFERENCE + WARM_UP], order[N_REFERENCE + WARM_UP :]
    column = world.corpus.maps["last"].names.index("max_prob")
    firsts = {}
    for change in CHANGES:
        after = change.rows(world, change.draw(world, pool, change.horizon, random), "last")
        firsts[change.name] = _firsts(peer, world.rows["last"][warm], after, column)
    print(f"  river, delays: run {number + 1}", flush=True)
    return {"first": firsts}


def _firsts(peer: Peer, warm: Floats, stream: Floats, column: int) -> dict[str, Any]:
    one = slice(column, column + 1)
    return {
        ADWIN: peer.ask("first", {"warm": warm, "stream": stream}, detector="ADWIN"),
        KSWIN: peer.ask(
            "first", {"warm": warm[-KSWIN_WARM:, one], "stream": stream[:, one]}, detector="KSWIN"
        ),
    }


def _column(condition: Condition, column: int) -> int:
    return GAUSSIAN_COLUMN if condition.traffic == "gaussian" else column
