"""One look: in each window the hypothesis that explains it best speaks, and the arms are held to their thresholds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from monitoring.calibration import OFF, ArmThreshold, Thresholds, calibrate
from monitoring.check import (
    N_FEATURES,
    Baseline,
    Finding,
    change_index,
    judge_reading,
    most_drifted,
    shares,
    threshold_of,
)
from monitoring.detector import Detector, Windows
from monitoring.mixture import MIXTURE, Hypothesis, know_domains
from tests.fixtures.references import FEATURE_MAP, labelled, traffic
from trimtab.drift import LabelledRisk
from trimtab.features import Floats

WINDOWS = Windows(block=10, short=100, long=200)
SIZES = (WINDOWS.short, WINDOWS.long)
MOVIE, TWEETS = traffic(400, 0.0, 1), traffic(200, 1.5, 2)
QUIET_LABELS = LabelledRisk(
    accuracy=0.8, n=50, reference_accuracy=0.8, statistic=-0.5, threshold=6.0, alarm=False, drop_low=-0.1
)


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    known = know_domains({"movie": MOVIE, "tweets": TWEETS})
    thresholds = tuple(calibrate(rows, known.edges, WINDOWS, 500.0, ordered=False) for rows in known.rows)
    references = labelled({"movie": MOVIE, "tweets": TWEETS}, anchors=("movie",))
    return Baseline(1, known, references, thresholds)


def found(baseline: Baseline, rows: Floats, labelled_risk: LabelledRisk | None = None) -> Finding:
    detector = Detector(baseline.known, WINDOWS)
    detector.take(rows)
    return judge_reading(baseline, detector.read(), SIZES, labelled_risk)


def arms_of(finding: Finding) -> dict[str, bool]:
    return {arm.name: arm.alarm for arm in finding.arms}


@pytest.mark.parametrize(("shift", "nearest"), [(0.0, "movie"), (1.5, "tweets")])
def test_a_known_domain_is_no_alarm(baseline: Baseline, shift: float, nearest: str) -> None:
    finding = found(baseline, traffic(200, shift, 3))
    assert arms_of(finding) == {"e_detector": False, "short": False, "long": False}
    assert finding.n_window == WINDOWS.short
    assert finding.look.hypothesis.name in {nearest, MIXTURE}
    assert shares(baseline.known, finding.look.hypothesis.weights)[nearest] > 0.9


def test_half_and_half_is_no_alarm(baseline: Baseline) -> None:
    mixed = np.random.default_rng(0).permutation(np.vstack([traffic(100, 0.0, 3), traffic(100, 1.5, 4)]))
    finding = found(baseline, mixed)
    assert not finding.alarm
    assert finding.look.hypothesis.name == MIXTURE
    assert shares(baseline.known, finding.look.hypothesis.weights)["movie"] == pytest.approx(0.5, abs=0.15)


def test_something_new_is_an_alarm_with_its_features(baseline: Baseline) -> None:
    finding = found(baseline, traffic(100, -1.5, 3))
    assert arms_of(finding) == {"e_detector": True, "short": True}
    moved = set(FEATURE_MAP.names[: len(FEATURE_MAP.names) // 2])
    features = most_drifted(baseline, finding.look)
    assert {feature.name for feature in features[: len(moved)]} == moved
    assert len(features) == N_FEATURES
    assert finding.max_ks == features[0].ks
    assert 0 < sum(feature.share for feature in features) <= 1


def test_the_long_window_speaks_where_it_is_further_above_its_threshold(baseline: Baseline) -> None:
    gone = np.vstack([traffic(100, -1.5, 3), traffic(100, 0.0, 4)])
    finding = found(baseline, gone)
    assert arms_of(finding)["long"]
    assert not arms_of(finding)["short"]
    assert finding.n_window == WINDOWS.long
    long = next(arm for arm in finding.arms if arm.name == "long")
    assert (finding.threshold, long.statistic) == (long.threshold, finding.look.energy)


def test_labels_are_an_arm_where_there_are_any(baseline: Baseline) -> None:
    quiet = traffic(100, 0.0, 3)
    finding = found(baseline, quiet, QUIET_LABELS)
    assert arms_of(finding)["labels"] is False
    assert next(arm for arm in finding.arms if arm.name == "labels").statistic == 0.0
    loud = replace(QUIET_LABELS, statistic=7.0, alarm=True)
    assert arms_of(found(baseline, quiet, loud)) == {"e_detector": False, "short": False, "labels": True}


def test_no_evidence_is_shown_as_none_and_an_arm_that_is_off_is_left_out(baseline: Baseline) -> None:
    quiet = found(baseline, traffic(100, 0.0, 3))
    assert quiet.arms[0].statistic >= 0.0
    off = ArmThreshold(OFF, OFF, OFF)
    one_off = (replace(baseline.thresholds[0], e_detector=off), baseline.thresholds[1])
    assert "e_detector" not in arms_of(found(replace(baseline, thresholds=one_off), traffic(100, 0.0, 3)))


def test_anchors_are_the_domains_of_the_first_version(baseline: Baseline) -> None:
    """Traffic like a domain that was accepted later is no drift, and yet far from where it all began."""
    finding = found(baseline, traffic(200, 1.5, 3))
    assert not finding.alarm
    assert finding.anchor_ks > 0.3
    assert found(baseline, traffic(200, 0.0, 3)).anchor_ks < 0.2
    unknown = replace(baseline, references=labelled({"movie": MOVIE, "tweets": TWEETS}))
    assert found(unknown, traffic(200, 1.5, 3)).anchor_ks < 0.2


def test_a_mixture_is_held_to_the_threshold_of_its_widest_part(baseline: Baseline) -> None:
    narrow, wide = (
        Thresholds(e_detector=each, short=each, long=each)
        for each in (ArmThreshold(0.1, 0.1, 0.1), ArmThreshold(9.0, 9.0, 9.0))
    )
    held = replace(baseline, thresholds=(narrow, wide))
    for weights, expected in (((1.0, 0.0), 0.1), ((0.0, 1.0), 9.0), ((0.5, 0.5), 9.0), ((0.995, 0.005), 0.1)):
        mixed = Hypothesis(MIXTURE, np.array(weights), baseline.known.distributions[0])
        assert threshold_of(held, mixed, "short").value == expected


def test_labels_are_compared_with_the_worst_domain(baseline: Baseline) -> None:
    truth, predicted = baseline.references.truth["movie"], baseline.references.predicted["movie"]
    wrong, n = baseline.source_risk
    assert n == pytest.approx(len(MOVIE))  # surer on tweets, and so more often right
    assert wrong == pytest.approx((truth != predicted).sum())
    bare = replace(baseline, references=labelled({"movie": MOVIE[:60], "tweets": TWEETS[:60]}))
    assert replace(bare, known=know_domains(bare.references.rows)).source_risk == (0.0, 0.0)


def test_order_counts_only_when_every_domain_has_it(baseline: Baseline) -> None:
    assert not baseline.ordered
    rows = {"movie": MOVIE, "tweets": TWEETS}
    for ordered, expected in ((("movie",), False), (("movie", "tweets"), True)):
        references = labelled(rows, ordered=frozenset(ordered))
        assert replace(baseline, references=references).ordered is expected


def test_the_change_is_found_whichever_known_domain_came_before(baseline: Baseline) -> None:
    for before in (0.0, 1.5):
        samples = np.vstack([traffic(160, before, 5), traffic(80, -1.5, 6)])
        assert change_index(baseline.known, samples, WINDOWS.short) == pytest.approx(160, abs=6)
