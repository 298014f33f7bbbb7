"""What a finding means, from statistics to kind: the parts are tested on their own, here is how they meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from monitoring.calibration import ArmThreshold, Thresholds
from monitoring.check import Baseline, Finding, judge_reading
from monitoring.detector import Detector, Windows
from monitoring.evidence import (
    FEWEST_CHANGED,
    Meaning,
    changed_rows,
    concept_start,
    estimated_harm,
    labels_so_far,
    meaning_of,
    worth_acting_on,
)
from monitoring.mixture import know_domains
from tests.fixtures.references import FEATURE_MAP, LABELS, labelled, traffic
from trimtab.drift import DriftKind, LabelledRisk
from trimtab.features import VOCABULARY_FEATURES, Floats
from trimtab.ledger.feedback import Outcome
from trimtab.ledger.windows import PredictionWindow
from trimtab.settings import DriftSettings

WINDOWS = Windows(block=10, short=200, long=400)
MOVIE, TWEETS = traffic(600, 0.0, 1), traffic(400, 1.5, 2)
DRIFT = DriftSettings()
HELD = ArmThreshold(0.2, 0.18, 0.22)
THRESHOLDS = Thresholds(e_detector=ArmThreshold(5.0, 4.0, 6.0), short=HELD, long=HELD)


def baseline_of(*domains: str) -> Baseline:
    rows = {name: each for name, each in (("movie", MOVIE), ("tweets", TWEETS)) if name in domains}
    return Baseline(1, know_domains(rows), labelled(rows), (THRESHOLDS,) * len(rows))


BASELINE = baseline_of("movie")


def found(rows: Floats, labelled_risk: LabelledRisk | None = None, known: Baseline = BASELINE) -> Finding:
    detector = Detector(known.known, WINDOWS)
    detector.take(rows)
    return judge_reading(known, detector.read(), (WINDOWS.short, WINDOWS.long), labelled_risk)


def samples_of(rows: Floats, clients: Sequence[str] | None = None) -> PredictionWindow:
    n = len(rows)
    return PredictionWindow(
        seqs=np.arange(1, n + 1),
        features=rows,
        prediction_ids=tuple(f"p{i}" for i in range(1, n + 1)),
        labels=tuple(LABELS[i % 2] for i in range(n)),
        clients=tuple(clients or ("anonymous",) * n),
        domains=(None,) * n,
        observed_at=np.arange(n, dtype=np.float64),
    )


def meant(
    rows: Floats, labelled_risk: LabelledRisk | None = None, clients: Sequence[str] | None = None
) -> Meaning:
    finding = found(rows, labelled_risk)
    harm = estimated_harm(BASELINE, finding, rows)
    return meaning_of(BASELINE, finding, harm, labelled_risk, samples_of(rows, clients), DRIFT)


def shifted(names: Sequence[str], by: float, seed: int = 3) -> Floats:
    rows = traffic(WINDOWS.short, 0.0, seed)
    rows[:, [FEATURE_MAP.names.index(name) for name in names]] += by
    return rows


def kind_of(meaning: Meaning) -> tuple[DriftKind, bool]:
    assert meaning.judgement is not None
    return meaning.judgement.kind, meaning.judgement.harmful


def test_less_sure_answers_are_harmful_and_surer_ones_are_not() -> None:
    assert kind_of(meant(shifted(["max_prob"], -2.0))) == (DriftKind.COVARIATE_HARMFUL, True)
    assert kind_of(meant(shifted(["pca_00", "pca_01"], 2.0))) == (DriftKind.COVARIATE_BENIGN, False)


def test_other_scripts_are_vocabulary() -> None:
    kind, _ = kind_of(meant(shifted([*VOCABULARY_FEATURES], 1.5)))
    assert kind is DriftKind.VOCABULARY


def test_one_of_several_clients_is_named() -> None:
    rows = traffic(WINDOWS.short, 0.0, 3)
    rows[::3] += 2.5
    clients = ["bot" if i % 3 == 0 else f"user {i % 2}" for i in range(len(rows))]
    meaning = meant(rows, clients=clients)
    assert kind_of(meaning)[0] is DriftKind.SOURCE
    assert meaning.judgement is not None
    assert meaning.judgement.severity == 3
    assert "'bot'" in meaning.judgement.words


def test_an_alarm_says_why() -> None:
    meaning = meant(shifted(["pca_00"], 2.0))
    assert meaning.explanation is not None
    assert meaning.explanation.features[0].name == "pca_00"
    assert sum(meaning.explanation.features[0].after) == pytest.approx(1.0)
    assert set(meaning.explanation.typical_new) <= {f"p{i}" for i in range(1, 201)}
    assert set(meaning.explanation.nearest_old) <= set(BASELINE.references.keys["movie"])


def test_wrong_answers_on_inputs_as_before_are_a_concept_drift() -> None:
    outcomes = [Outcome(seq=i, right=i % 4 > 0 if i < 200 else i % 2 > 0) for i in range(1, 500)]
    risk = labels_so_far(BASELINE, outcomes, tolerance=0.03, run_length=10_000.0)
    assert risk is not None
    assert risk.alarm
    quiet = traffic(WINDOWS.short, 0.0, 5)
    assert kind_of(meant(quiet, risk)) == (DriftKind.CONCEPT, True)
    assert 170 < concept_start(BASELINE, outcomes, 0.03) < 260


def test_labels_as_good_as_the_reference_are_no_alarm() -> None:
    wrong, n = BASELINE.source_risk
    random = np.random.default_rng(0)
    outcomes = [
        Outcome(seq=i, right=bool(right)) for i, right in enumerate(random.random(1000) > wrong / n, start=1)
    ]
    risk = labels_so_far(BASELINE, outcomes, tolerance=0.03, run_length=100_000.0)
    assert risk is not None
    assert not risk.alarm
    assert labels_so_far(BASELINE, [], tolerance=0.03, run_length=100.0) is None


def test_a_reference_without_labels_says_nothing_of_harm() -> None:
    bare = replace(BASELINE, references=replace(BASELINE.references, truth={}))
    rows = shifted(["max_prob"], -2.0)
    finding = found(rows, known=bare)
    assert estimated_harm(bare, finding, rows) is None
    assert labels_so_far(bare, [Outcome(seq=1, right=False)], tolerance=0.0, run_length=100.0) is None
    meaning = meaning_of(bare, finding, None, None, samples_of(rows), DRIFT)
    assert kind_of(meaning) == (DriftKind.COVARIATE_BENIGN, False)
    assert meaning.judgement is not None
    assert "cannot be estimated" in meaning.judgement.words


def test_harm_is_measured_against_the_mixture_that_traffic_is() -> None:
    """Surer and less sure domains half and half: neither's accuracy is what to expect, their mean is."""
    known = baseline_of("movie", "tweets")
    rows = np.vstack([traffic(100, 0.0, 3), traffic(100, 1.5, 4)])
    both = found(rows, known=known)
    harm = estimated_harm(known, both, rows)
    alone = [
        estimated_harm(known, found(traffic(200, x, 5), known=known), traffic(200, x, 5)) for x in (0.0, 1.5)
    ]
    assert harm is not None
    low, high = sorted(each.reference_accuracy for each in alone if each is not None)
    assert low + 0.2 * (high - low) < harm.reference_accuracy < high - 0.2 * (high - low)
    assert harm.drop_low < 0


@pytest.mark.parametrize("ks", [0.05, 0.15])
def test_an_alarm_is_worth_acting_on_by_size_by_harm_or_by_novelty(ks: float) -> None:
    quiet, loud = found(traffic(200, 0.0, 3)), found(shifted(["max_prob"], -2.0))
    small = replace(loud, look=replace(loud.look, ks=np.full_like(loud.look.ks, ks)))
    benign, harmful = meant(shifted(["pca_00"], 2.0)), meant(shifted(["max_prob"], -2.0))
    assert benign.explanation is not None
    old = replace(benign, explanation=replace(benign.explanation, unexplained_low=0.01))
    new = replace(benign, explanation=replace(benign.explanation, unexplained_low=0.06))
    assert worth_acting_on(small, old, 0.1) is (ks >= 0.1)
    assert worth_acting_on(small, new, 0.1)
    assert worth_acting_on(small, harmful, 0.1)
    assert not worth_acting_on(quiet, harmful, 0.0)


def test_harm_is_estimated_on_the_events_since_the_change() -> None:
    rows = np.arange(2000.0).reshape(-1, 1)
    assert changed_rows(rows, 180, 500)[0, 0] == 1820
    assert changed_rows(rows, 1500, 500)[0, 0] == 1500
    assert len(changed_rows(rows, 3, 500)) == FEWEST_CHANGED
