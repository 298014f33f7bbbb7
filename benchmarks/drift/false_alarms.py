"""Part 1: traffic without drift. When does each rule first cry wolf, beside what was promised?"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy.stats import binom

from benchmarks.drift.corpus import SOURCE, Corpus, load_corpus
from benchmarks.drift.rules import RULES, first_alarm, measure
from benchmarks.drift.streams import Split, correlated_gaussians, in_sessions, independent, kmeans
from benchmarks.drift.trace import WINDOWS, first_alarms, follow, thresholds_for
from benchmarks.drift.workers import Record, run_all
from monitoring.calibration import OFF
from trimtab.features import Floats, Integers

RUN_LENGTH = 10_000.0  # events a false alarm, promised
BAND = 0.99
N_GAUSSIAN_FEATURES = 43


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One kind of traffic without drift.

    Attributes:
        traffic: "independent" real rows, "sessions" of real rows, or "gaussian".
        runs: Fresh references and streams; the first `judged_by_peers` of them are also judged by the peers' rules.
        mean_session: Mean length of a session in events.
        rho: Correlation between gaussian features.
    """

    name: str
    traffic: str
    runs: int
    judged_by_peers: int
    n_reference: int = 2000
    n_stream: int = 6000
    mean_session: float = 1.0
    rho: float = 0.0

    @property
    def horizons(self) -> tuple[int, ...]:
        """The T of the table."""
        return tuple(range(self.n_stream // 6, self.n_stream + 1, self.n_stream // 6))


CONDITIONS = (
    Condition(name="independent", traffic="independent", runs=1000, judged_by_peers=100),
    Condition(name="sessions of 5", traffic="sessions", runs=1000, judged_by_peers=100, mean_session=5),
    Condition(name="rho 0.9", traffic="gaussian", runs=1000, judged_by_peers=100, n_stream=12_000, rho=0.9),
    Condition(
        name="independent, reference 4,000",
        traffic="independent",
        runs=100,
        judged_by_peers=0,
        n_reference=4000,
        n_stream=4500,
    ),
    Condition(name="sessions of 20", traffic="sessions", runs=100, judged_by_peers=0, mean_session=20),
)


@dataclass(frozen=True)
class Share:
    """Runs with a first alarm by `horizon` events, beside the promise 1 - exp(-T / ARL) and its 99 % band."""

    horizon: int
    runs: int
    alarmed: int
    promised: float
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.alarmed / self.runs

    @property
    def kept(self) -> bool:
        """Whether the share is not above the promise and its band."""
        return self.share <= self.high


def shares(
    first: Sequence[int | None], horizons: Sequence[int], run_length: float = RUN_LENGTH
) -> list[Share]:
    """The table of one rule: events at the first alarm of each run (None: none)."""
    return [
        _share([at for at in first if at is not None and at <= t], len(first), t, run_length)
        for t in horizons
    ]


def _share(alarmed: Sequence[int], runs: int, horizon: int, run_length: float) -> Share:
    promised = 1 - math.exp(-horizon / run_length)
    low, high = (float(binom.ppf(level, runs, promised)) / runs for level in ((1 - BAND) / 2, (1 + BAND) / 2))
    return Share(horizon, runs, len(alarmed), promised, low, high)


def realised_run_length(first: Sequence[int | None], horizon: int) -> float:
    """Events a first alarm, by the maximum likelihood of a constant rate with runs cut off at `horizon`."""
    watched = sum(min(at, horizon) if at is not None else horizon for at in first)
    alarms = sum(at is not None and at <= horizon for at in first)
    return watched / alarms if alarms else math.inf


def run_condition(condition: Condition, cached: Path) -> list[Record]:
    """All runs of a condition, one record each."""
    return run_all(condition.name, partial(one_run, condition, cached), condition.runs)


def one_run(condition: Condition, cached: Path, number: int) -> Record:
    """A fresh reference and stream, calibrated and followed."""
    reference, stream = traffic(condition, cached, np.random.default_rng([17, number]))
    started = time.process_time()
    ordered = condition.traffic == "sessions"
    thresholds = thresholds_for(reference, RUN_LENGTH, ordered=ordered, seed=number)
    calibrated = time.process_time()
    trace = follow(reference, stream)
    record: Record = {
        "first": first_alarms(trace, trace.alarms(thresholds)),
        "calibration_cpu_s": calibrated - started,
        "block_length": thresholds.block_length,
        "e_detector_off": thresholds.e_detector.value >= OFF,
        "extrapolation": thresholds.extrapolation,
    }
    if number < condition.judged_by_peers:
        measured = measure(reference, stream, WINDOWS.short, WINDOWS.block)
        record["rules"] = {name: first_alarm(rule(measured), measured.ends) for name, rule in RULES.items()}
        record["in_alarm"] = {name: float(rule(measured).mean()) for name, rule in RULES.items()}
    return record


def traffic(condition: Condition, cached: Path, random: np.random.Generator) -> tuple[Floats, Floats]:
    if condition.traffic == "gaussian":
        n = condition.n_reference + condition.n_stream
        rows = correlated_gaussians(n, N_GAUSSIAN_FEATURES, condition.rho, random)
        return rows[: condition.n_reference], rows[condition.n_reference :]
    _, rows, clusters = known_rows(cached)
    split = _split(condition, len(rows), clusters, random)
    return rows[split.reference], rows[split.stream]


def _split(condition: Condition, n: int, clusters: Integers, random: np.random.Generator) -> Split:
    sizes = condition.n_reference, condition.n_stream
    if condition.traffic == "sessions":
        return in_sessions(np.arange(n), clusters, condition.mean_session, *sizes, random)
    return independent(np.arange(n), *sizes, random)


@cache
def known_rows(cached: Path) -> tuple[Corpus, Floats, Integers]:
    """The corpus, the feature rows of its fresh source rows, and the clusters of those."""
    corpus = load_corpus(cached)
    fresh = corpus.fresh(SOURCE)
    return corpus, corpus.rows(fresh), kmeans(corpus.states["last"][fresh])
