"""Reports and states survive JSON, and say what they mean."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from trimtab.drift import (
    ArmStatistic,
    DriftKind,
    DriftReport,
    DriftState,
    Explanation,
    FeatureDrift,
    Harm,
    LabelledRisk,
    LabelShiftFound,
    MonitorState,
    Share,
    report_id,
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


WHOLE = replace(
    REPORT,
    kind=DriftKind.LABEL_SHIFT,
    harmful=True,
    features=(FeatureDrift(name="pca_00", ks=0.25, p_value=1e-9, share=0.4, edges=(0.5,), before=(1.0, 0.0)),),
    harm=Harm(
        reference_accuracy=0.8, estimated_accuracy=0.7, drop=0.1, drop_low=0.05, atc_accuracy=0.6, n_reference=9,
        note="n",
    ),
    labelled=LabelledRisk(
        accuracy=0.7, n=5, reference_accuracy=0.8, statistic=1.0, threshold=2.0, alarm=False, drop_low=-0.1
    ),
    label_shift=LabelShiftFound(
        prior_before={"a": 0.5}, prior_after={"a": 1.0}, total_variation=0.5, residual=0.3, explains=True
    ),
    evidence=Explanation(
        features=(FeatureDrift(name="pca_00", ks=0.25),),
        typical_new=("p1",),
        nearest_old=("k1",),
        clients=(Share(name="ada", share=0.5, share_new=0.9),),
        domains=(Share(name="film", share=0.5, share_new=0.9, share_before=0.1),),
    ),
    anchor_ks=0.3,
    dependence=0.1,
    extrapolation=12.0,
)  # fmt: skip


def test_a_report_with_all_its_evidence_survives_json() -> None:
    assert DriftReport.from_json(WHOLE.to_json()) == WHOLE


def test_a_report_of_an_older_release_can_be_read() -> None:
    added = {
        "harm",
        "labelled",
        "label_shift",
        "evidence",
        "anchor_ks",
        "dependence",
        "extrapolation",
        "harmful",
    }
    old = {name: value for name, value in json.loads(REPORT.to_json()).items() if name not in added}
    old["arms"] = [{"name": "energy", "statistic": 0.3, "threshold": 0.2}]
    old["features"] = [{"name": "pca_00", "ks": 0.25}]
    read = DriftReport.from_json(json.dumps(old))
    assert read == replace(REPORT, arms=(ARM,))


def test_the_statistics_survive_json_to_the_last_bit() -> None:
    log_m = tuple(math.sin(n) * 10.0 ** (n % 37 - 20) for n in range(2_000))
    kept = replace(STATE, log_m=log_m, consumed_seq=2**60)
    assert MonitorState.from_json(kept.to_json()) == kept


def test_every_kind_has_a_sentence_of_what_it_is_and_what_follows() -> None:
    assert all(kind.meaning.endswith(".") and kind.action.endswith(".") for kind in DriftKind)


@pytest.mark.parametrize(
    ("arms", "size"),
    [
        ((), 1.0),
        ((("short", 0.5),), 1.0),
        ((("short", 2.0), ("long", 9.0), ("e_detector", 3.0)), 2.0),
        ((("energy", 2.0), ("max_ks", 3.0)), 3.0),
    ],
)
def test_the_size_of_a_drift_does_not_grow_with_the_time_it_lasts(
    arms: tuple[tuple[str, float], ...], size: float
) -> None:
    kept = tuple(ArmStatistic(name=name, statistic=ratio, threshold=1.0) for name, ratio in arms)
    assert replace(STATE, arms=kept).size == size
