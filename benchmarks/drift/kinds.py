"""Part 4: what kind of drift does the monitor name at the moment that it would open a job?

The monitor's own functions judge (`monitoring.check`, `monitoring.evidence`), with production's budget and tolerances;
only the ledger around them is left out. Two looks in a row must be worth acting on, as `drift.confirm_checks` asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.drift.changes import (
    DOMAIN_HORIZON,
    World,
    accuracy_drop,
    change_named,
    load_world,
    unseen,
)
from benchmarks.drift.corpus import DERIVED, SOURCE
from benchmarks.drift.delays import MONTHLY, N_REFERENCE, WARM_UP
from benchmarks.drift.trace import N_ARMS_PROMISED, WINDOWS, thresholds_for
from benchmarks.drift.workers import Record, run_all
from monitoring.check import Baseline, change_index, judge_reading
from monitoring.detector import Detector
from monitoring.evidence import changed_rows, estimated_harm, labels_so_far, meaning_of, worth_acting_on
from monitoring.mixture import know_domains
from trimtab.drift import DriftKind
from trimtab.features import Floats, Integers, References
from trimtab.ledger.feedback import Outcome
from trimtab.ledger.windows import PredictionWindow
from trimtab.settings import DriftSettings

SETTINGS = DriftSettings()
CLIENTS = 5
LOUD = "client-0"
LOUD_SHARE = 0.3
FLIPPED = 0.25  # share of the answers that become wrong when the concept drifts
LABELLED = 0.2  # share of the traffic whose label comes back, where the concept drifts


@dataclass(frozen=True)
class Traffic:
    """(t,) events: feature rows, index of the answer, whether it was right, who sent it; a label for some of them."""

    rows: Floats
    predicted: Integers
    right: npt.NDArray[np.bool_]
    clients: npt.NDArray[np.str_]
    labelled: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Said:
    """Events after the change at which a job would be opened, the kind named then, and the one named when the short
    window holds only events from after the change; None: none."""

    at: int | None
    at_job: DriftKind | None
    settled: DriftKind | None


Make = Callable[[World, Integers, np.random.Generator], Traffic]


@dataclass(frozen=True)
class Case:
    """A drift with its true kind; None: harmful or benign, as the true drop in accuracy says."""

    name: str
    make: Make
    kind: DriftKind | None = None
    change: str = ""  # name of the change that it is, for its true drop

    def drop(self, world: World) -> float:
        """Points of accuracy that it truly costs."""
        if self.kind is DriftKind.CONCEPT:
            return 100 * FLIPPED * (2 * _accuracy(world, SOURCE) - 1)
        if self.kind is DriftKind.VOCABULARY:
            return 100 * (_accuracy(world, SOURCE) - _accuracy(world, DERIVED))
        return accuracy_drop(change_named(self.change), world)[0]

    def expected(self, world: World) -> DriftKind:
        """What the monitor should say."""
        if self.kind is not None:
            return self.kind
        harmful = self.drop(world) >= 100 * SETTINGS.max_accuracy_drop
        return DriftKind.COVARIATE_HARMFUL if harmful else DriftKind.COVARIATE_BENIGN


def _changed(name: str) -> Make:
    def make(world: World, pool: Integers, random: np.random.Generator) -> Traffic:
        change = change_named(name)
        drawn = change.draw(world, pool, change.horizon, random)
        return traffic_of(world, drawn.index, change.rows(world, drawn, "last"), drawn.last(world), random)

    return make


def _in_script(world: World, _: Integers, random: np.random.Generator) -> Traffic:
    index = random.permutation(world.corpus.fresh(DERIVED))[:DOMAIN_HORIZON]
    return _recorded(world, index, random)


def _concept(world: World, pool: Integers, random: np.random.Generator) -> Traffic:
    """The same texts, but a quarter of them now mean the opposite; some labels come back."""
    same = _recorded(world, random.permutation(pool), random)
    right = same.right ^ (random.random(len(same.right)) < FLIPPED)
    return Traffic(same.rows, same.predicted, right, same.clients, random.random(len(right)) < LABELLED)


def _loud_client(world: World, pool: Integers, random: np.random.Generator) -> Traffic:
    """One of the clients begins to send texts of another domain; the others go on as before."""
    drawn = unseen("amazon", LOUD_SHARE)(world, pool, 4000, random)
    sent = _recorded(world, drawn.index, random)
    new = world.corpus.domains[drawn.index] == "amazon"
    others = np.array([f"client-{i}" for i in 1 + random.integers(CLIENTS - 1, size=len(new))])
    return Traffic(sent.rows, sent.predicted, sent.right, np.where(new, LOUD, others), sent.labelled)


CASES = (
    Case("mean shift 0.5 sd", _changed("mean shift 0.5 sd"), change="mean shift 0.5 sd"),
    Case("rotation 45°", _changed("rotation 45°"), change="rotation 45°"),
    Case("tweets 100 %", _changed("tweets 100 %"), change="tweets 100 %"),
    Case("nyt 30 %", _changed("nyt 30 %"), change="nyt 30 %"),
    Case(
        "label mix 50 % to 80 %",
        _changed("label mix 50 % to 80 %"),
        DriftKind.LABEL_SHIFT,
        "label mix 50 % to 80 %",
    ),
    Case("concept: 25 % of the meanings turn, 20 % labels", _concept, DriftKind.CONCEPT),
    Case("words in another script (derived)", _in_script, DriftKind.VOCABULARY),
    Case("one of five clients sends amazon", _loud_client, DriftKind.SOURCE, "amazon 30 %"),
)


def run_kinds(runs: int, cached: Path) -> list[Record]:
    """A record a drift and run."""
    found = run_all("kinds", partial(one_run, cached), runs)
    return [record for each in found for record in each["records"]]


def one_run(cached: Path, number: int) -> Record:
    """One version with its reference, and every drift after a warm-up of the long window."""
    world, random = load_world(cached), np.random.default_rng([41, number])
    order = random.permutation(world.corpus.fresh(SOURCE))
    warm, pool = order[N_REFERENCE : N_REFERENCE + WARM_UP], order[N_REFERENCE + WARM_UP :]
    baseline = baseline_of(world, order[:N_REFERENCE], number)
    records = []
    for case in CASES:
        after = case.make(world, pool, random)
        said = follow_up(baseline, joined(_recorded(world, warm, random), after), len(warm))
        records.append(
            {
                "drift": case.name,
                "expected": _expected(cached, case),
                "drop": _drop(cached, case),
                **asdict(said),
            }
        )
    return {"records": records}


def follow_up(baseline: Baseline, traffic: Traffic, start: int) -> Said:
    """What is said of a change behind the first `start` events."""
    detector, in_a_row, at, first, begun = Detector(baseline.known, WINDOWS), 0, None, None, None
    for end in range(WINDOWS.block, len(traffic.rows) + 1, WINDOWS.block):
        detector.take(traffic.rows[end - WINDOWS.block : end])
        if end <= start:
            continue
        kind = look(baseline, detector, traffic, (start, end), begun)
        in_a_row = in_a_row + 1 if kind is not None else 0
        if at is None and in_a_row == SETTINGS.confirm_checks:
            at, first, begun = end - start, kind, change_before(baseline, detector, end)
        if at is not None and end - start >= WINDOWS.short:
            return Said(at, first, kind)
    return Said(at, first, None)


def look(
    baseline: Baseline, detector: Detector, traffic: Traffic, span: tuple[int, int], begun: int | None
) -> DriftKind | None:
    """The kind that is said after `span[1]` events, if it is an alarm that is worth acting on.

    Labels count from `span[0]` on; `begun` is where a confirmed alarm took the change to be.
    """
    start, end = span
    labelled = start + np.flatnonzero(traffic.labelled[start:end])
    outcomes = [Outcome(seq=int(i), right=bool(traffic.right[i])) for i in labelled]
    tolerance, run_length = SETTINGS.max_accuracy_drop, N_ARMS_PROMISED * MONTHLY
    risk = labels_so_far(baseline, outcomes, tolerance=tolerance, run_length=run_length)
    finding = judge_reading(baseline, detector.read(), (WINDOWS.short, WINDOWS.long), risk)
    if not finding.alarm:
        return None
    n_changed = end - (change_before(baseline, detector, end) if begun is None else begun)
    harm = estimated_harm(baseline, finding, changed_rows(detector.rows, n_changed, finding.n_window))
    window = window_of(baseline, traffic, end - finding.n_window, end)
    meaning = meaning_of(baseline, finding, harm, risk, window, SETTINGS)
    if meaning.judgement is None or not worth_acting_on(finding, meaning, SETTINGS.min_effect):
        return None
    return meaning.judgement.kind


def change_before(baseline: Baseline, detector: Detector, end: int) -> int:
    """The event at which the change is taken to begin, `end` events into the traffic."""
    rows = detector.rows
    return end - len(rows) + change_index(baseline.known, rows, WINDOWS.short)


def baseline_of(world: World, index: Integers, seed: int) -> Baseline:
    """What a version with this labelled reference knows, calibrated to production's budget."""
    corpus, rows = world.corpus, world.rows["last"][index]
    references = References(
        corpus.maps["last"],
        {SOURCE: rows},
        truth={SOURCE: corpus.truth[index]},
        predicted={SOURCE: corpus.predicted(corpus.states["last"][index])},
        keys={SOURCE: tuple(f"text-{i}" for i in index)},
        anchors=(SOURCE,),
    )
    thresholds = thresholds_for(rows, MONTHLY, ordered=False, seed=seed)
    return Baseline(1, know_domains(references.rows), references, (thresholds,))


def traffic_of(
    world: World, index: Integers, rows: Floats, last: Floats, random: np.random.Generator
) -> Traffic:
    """Events of these texts with these (t, d) rows and (t, h) last states, without labels, from any client."""
    predicted = world.corpus.predicted(last)
    clients = np.array([f"client-{i}" for i in random.integers(CLIENTS, size=len(index))])
    return Traffic(
        rows, predicted, predicted == world.corpus.truth[index], clients, np.zeros(len(index), dtype=bool)
    )


def joined(before: Traffic, after: Traffic) -> Traffic:
    """One after the other."""
    return Traffic(
        *(np.concatenate(pair) for pair in zip(vars(before).values(), vars(after).values(), strict=True))
    )


def window_of(baseline: Baseline, traffic: Traffic, start: int, stop: int) -> PredictionWindow:
    """The events from `start` to `stop` as the ledger would give them."""
    labels = baseline.references.feature_map.labels
    return PredictionWindow(
        seqs=np.arange(start, stop),
        features=traffic.rows[start:stop],
        prediction_ids=tuple(f"p{i}" for i in range(start, stop)),
        labels=tuple(labels[i] for i in traffic.predicted[start:stop]),
        clients=tuple(map(str, traffic.clients[start:stop])),
        domains=(None,) * (stop - start),
        observed_at=np.arange(start, stop, dtype=np.float64),
    )


def _recorded(world: World, index: Integers, random: np.random.Generator) -> Traffic:
    return traffic_of(world, index, world.rows["last"][index], world.corpus.states["last"][index], random)


def _accuracy(world: World, domain: str) -> float:
    fresh = world.corpus.fresh(domain)
    return float(
        (world.corpus.predicted(world.corpus.states["last"][fresh]) == world.corpus.truth[fresh]).mean()
    )


@cache
def _expected(cached: Path, case: Case) -> DriftKind:
    return case.expected(load_world(cached))


@cache
def _drop(cached: Path, case: Case) -> float:
    return case.drop(load_world(cached))
