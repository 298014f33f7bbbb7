"""Part 2 and 3: how many events after a change until the first threshold is crossed, and by which representation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.drift.bounds import Bound, best_delay
from benchmarks.drift.changes import CHANGES, Change, World, accuracy_drop, load_world, pure_rows
from benchmarks.drift.corpus import SOURCE
from benchmarks.drift.rules import RULES, calibrated_max_ks, first_alarm, measure
from benchmarks.drift.trace import OUR_ARMS, WINDOWS, Trace, first_alarms, follow, thresholds_for
from benchmarks.drift.workers import Record, run_all
from monitoring.calibration import OFF, Thresholds
from trimtab.features import Floats

EQUAL_BUDGET = 100_000.0  # events a false alarm
MONTHLY = 8640 * WINDOWS.block  # 30 days of a check every five minutes
N_REFERENCE = 2000
WARM_UP = WINDOWS.long
UNION, UNION_MONTHLY = "Trimtab, 1 per 100,000", "Trimtab, 1 per 30 days"
ALONE = {arm: f"{arm} alone" for arm in OUR_ARMS}
LARGEST = "largest D, calibrated"


@dataclass(frozen=True)
class Delay:
    """Median events to the first crossing over all runs (None: less than half of them found it), and the share."""

    median: float | None
    found: float
    runs: int


def delay_of(first: Sequence[int | None], horizon: int) -> Delay:
    """Runs that found nothing within the horizon count as later than it."""
    at = np.array([horizon + 1 if each is None else each for each in first])
    median = float(np.median(at))
    found = float((at <= horizon).mean())
    return Delay(median if median <= horizon else None, found, len(at))


def run_delays(layer: str, runs: int, judged_by_peers: int, cached: Path) -> list[Record]:
    """One record a run: by change and rule the events to the first alarm after the change."""
    return run_all(f"delay, {layer}", partial(one_run, layer, judged_by_peers, cached), runs)


def one_run(layer: str, judged_by_peers: int, cached: Path, number: int) -> Record:
    """One reference with its thresholds, and every change after a warm-up of the long window."""
    world, random = load_world(cached), np.random.default_rng([29, number])
    order = random.permutation(world.corpus.fresh(SOURCE))
    reference = world.rows[layer][order[:N_REFERENCE]]
    judge = Judge.calibrated(reference, number, peers=number < judged_by_peers)
    warm, pool = order[N_REFERENCE : N_REFERENCE + WARM_UP], order[N_REFERENCE + WARM_UP :]
    firsts = {}
    for change in CHANGES:
        after = change.rows(world, change.draw(world, pool, change.horizon, random), layer)
        firsts[change.name] = judge.firsts(np.concatenate([world.rows[layer][warm], after]))
    return {"first": firsts, "e_detector_off": judge.equal.e_detector.value >= OFF}


@dataclass(frozen=True)
class Judge:
    """One reference with the thresholds of every rule; `equal` and `monthly` are of the union, `single` of one arm."""

    reference: Floats
    equal: Thresholds
    monthly: Thresholds
    single: Thresholds
    largest: float
    peers: bool

    @classmethod
    def calibrated(cls, reference: Floats, seed: int, *, peers: bool) -> Judge:
        """A single arm has the whole budget to itself: a quarter of the checks, as it is given a quarter of it."""
        equal, monthly, single = (
            thresholds_for(reference, length, ordered=False, seed=seed)
            for length in (EQUAL_BUDGET, MONTHLY, EQUAL_BUDGET / 4)
        )
        largest = calibrated_max_ks(reference, WINDOWS.short, EQUAL_BUDGET / WINDOWS.block, seed)
        return cls(reference, equal, monthly, single, largest, peers)

    def firsts(self, stream: Floats) -> dict[str, int | None]:
        """Events after the warm-up at which each rule is first in alarm."""
        trace = follow(self.reference, stream).after(WARM_UP)
        found = self._ours(trace)
        if self.peers:
            measured = measure(
                self.reference, stream[WARM_UP - WINDOWS.short :], WINDOWS.short, WINDOWS.block
            )
            ends = measured.ends - WINDOWS.short
            later = ends > 0
            found |= {name: first_alarm(rule(measured)[later], ends[later]) for name, rule in RULES.items()}
        return found

    def _ours(self, trace: Trace) -> dict[str, int | None]:
        alone = first_alarms(trace, trace.alarms(self.single))
        return {
            UNION: first_alarms(trace, trace.alarms(self.equal))["union"],
            UNION_MONTHLY: first_alarms(trace, trace.alarms(self.monthly))["union"],
            **{name: alone[arm] for arm, name in ALONE.items()},
            LARGEST: first_alarm(trace.max_ks > self.largest, trace.ends),
        }


def run_effects(cached: Path) -> list[Record]:
    """What each change costs in accuracy, and how fast the best detector of these features could be, by layer."""
    return run_all("effects", partial(one_effect, cached), len(CHANGES))


def one_effect(cached: Path, number: int) -> Record:
    world, change = load_world(cached), CHANGES[number]
    drop, balanced = accuracy_drop(change, world)
    bounds = {layer: asdict(_bound(change, world, layer)) for layer in world.rows}
    return {"name": change.name, "drop": drop, "balanced_drop": balanced, "bound": bounds}


def _bound(change: Change, world: World, layer: str) -> Bound:
    """The rows before and after are different ones, else the constructed drifts would be told apart by their pairs."""
    new = pure_rows(change, world, layer)
    source = np.random.default_rng(2).permutation(world.corpus.fresh(SOURCE))
    return best_delay(world.rows[layer][source[:4000]], new, change.share, EQUAL_BUDGET)
