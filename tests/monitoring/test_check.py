"""One check: the hypothesis that explains the window best speaks."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.calibration import Thresholds, calibrate
from monitoring.check import N_FEATURES, Baseline, change_index, check_window
from monitoring.mixture import MIXTURE, know_domains
from tests.fixtures.references import FEATURE_MAP, traffic

WINDOW = 100


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    known = know_domains({"movie": traffic(400, 0.0, 1), "tweets": traffic(200, 1.5, 2)})
    thresholds = tuple(calibrate(rows, WINDOW, 500.0) for rows in known.rows)
    return Baseline(1, FEATURE_MAP.names, known, thresholds)


@pytest.mark.parametrize(("shift", "nearest"), [(0.0, "movie"), (1.5, "tweets")])
def test_a_known_domain_is_no_alarm(baseline: Baseline, shift: float, nearest: str) -> None:
    finding = check_window(baseline, traffic(WINDOW, shift, 3), 0.1)
    assert not finding.alarm
    assert finding.nearest in {nearest, MIXTURE}
    assert finding.mixture[nearest] > 0.9
    assert [arm.name for arm in finding.arms] == ["energy", "max_ks"]


def test_half_and_half_is_no_alarm(baseline: Baseline) -> None:
    window = np.vstack([traffic(WINDOW // 2, 0.0, 3), traffic(WINDOW // 2, 1.5, 4)])
    finding = check_window(baseline, window, 0.1)
    assert finding.nearest == MIXTURE
    assert not finding.alarm
    assert finding.mixture["movie"] == pytest.approx(0.5, abs=0.15)


def test_something_new_is_an_actionable_alarm_with_its_features(baseline: Baseline) -> None:
    finding = check_window(baseline, traffic(WINDOW, -1.5, 3), 0.1)
    assert finding.alarm
    assert finding.actionable
    moved = set(FEATURE_MAP.names[: len(FEATURE_MAP.names) // 2])
    assert {feature.name for feature in finding.features[: len(moved)]} == moved
    assert len(finding.features) == min(N_FEATURES, len(FEATURE_MAP.names))
    assert finding.max_ks == finding.features[0].ks


def test_an_alarm_below_the_effect_floor_is_not_actionable(baseline: Baseline) -> None:
    finding = check_window(baseline, traffic(WINDOW, -1.5, 3), min_effect=0.99)
    assert (finding.alarm, finding.actionable) == (True, False)


def test_a_mixture_is_held_to_the_threshold_of_its_widest_part() -> None:
    known = know_domains({"a": traffic(200, 0.0, 1), "b": traffic(200, 1.5, 2)})
    narrow, wide = Thresholds(energy=0.1, max_ks=0.1), Thresholds(energy=9.0, max_ks=0.9)
    baseline = Baseline(1, FEATURE_MAP.names, known, (narrow, wide))
    window = np.vstack([traffic(50, 0.0, 3), traffic(50, 1.5, 4)])
    assert [arm.threshold for arm in check_window(baseline, window, 0.1).arms] == [9.0, 0.9]


def test_a_window_with_other_features_is_refused(baseline: Baseline) -> None:
    with pytest.raises(ValueError, match="the window has 3 features"):
        check_window(baseline, np.zeros((WINDOW, 3)), 0.1)


def test_the_change_is_found_whichever_known_domain_came_before(baseline: Baseline) -> None:
    for before in (0.0, 1.5):
        samples = np.vstack([traffic(160, before, 5), traffic(80, -1.5, 6)])
        assert change_index(baseline, samples, WINDOW) == pytest.approx(160, abs=6)
