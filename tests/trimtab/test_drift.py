"""Reports and states survive JSON, and say what they mean."""

from __future__ import annotations

import json

import pytest

from trimtab.drift import (
    ArmStatistic,
    DriftReport,
    DriftState,
    FeatureDrift,
    MonitorState,
    report_id,
    severity_of,
)

ARM = ArmStatistic(name="energy", statistic=0.3, threshold=0.2)
REPORT = DriftReport(
    id=report_id("sentiment", 2, 900),
    model="sentiment",
    version=2,
    created_at=1_000.5,
    first_seq=401,
    last_seq=900,
    n_window=500,
    events_seen=900,
    state=DriftState.SUSPECT,
    arms=(ARM, ArmStatistic(name="max_ks", statistic=0.1, threshold=0.2)),
    features=(FeatureDrift(name="pca_00", ks=0.25),),
    max_ks=0.25,
    alarm=True,
    actionable=True,
    calibrated=True,
    nearest="movie",
    mixture={"movie": 1.0},
    change_from_seq=777,
    severity=2,
    explanation="why",
    job_id="j",
)
STATE = MonitorState(
    model="sentiment",
    version=2,
    state=DriftState.DRIFTING,
    arms=(ARM,),
    reference_domains=("movie", "tweets"),
    acknowledged_ratio=1.5,
)


def test_a_report_survives_json() -> None:
    assert DriftReport.from_json(REPORT.to_json()) == REPORT


def test_a_state_survives_json() -> None:
    assert MonitorState.from_json(STATE.to_json()) == STATE
    assert MonitorState.from_json('{"model": "m"}') == MonitorState(model="m")


@pytest.mark.parametrize("kept", [REPORT, STATE])
def test_members_of_a_newer_release_are_ignored(kept: DriftReport | MonitorState) -> None:
    widened = json.dumps(json.loads(kept.to_json()) | {"colour": 0.1})
    assert type(kept).from_json(widened) == kept


def test_a_state_is_written_as_its_name() -> None:
    assert json.loads(STATE.to_json())["state"] == "drifting"


def test_every_state_has_a_sentence() -> None:
    assert all(state.meaning.endswith(".") for state in DriftState)


def test_an_alarm_is_strictly_above_the_threshold() -> None:
    assert ARM.alarm
    assert not ArmStatistic(name="energy", statistic=0.2, threshold=0.2).alarm
    assert REPORT.ratio == pytest.approx(1.5)


def test_the_same_check_has_the_same_id() -> None:
    assert report_id("m", 1, 5) == report_id("m", 1, 5)
    assert len({report_id("m", 1, 5), report_id("m", 1, 6), report_id("m", 2, 5), report_id("n", 1, 5)}) == 4


@pytest.mark.parametrize(
    ("max_ks", "severity"), [(0.1, 1), (0.19, 1), (0.2, 2), (0.39, 2), (0.4, 3), (1.0, 3)]
)
def test_severity_grows_with_the_effect(max_ks: float, severity: int) -> None:
    assert severity_of(max_ks, actionable=True) == severity
    assert severity_of(max_ks, actionable=False) == 0
