"""What Prometheus sees: series that say what is true now, and end when it is not any more."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import REGISTRY

from monitoring.gauges import show_memory, show_missing, show_ready, show_report, show_state
from tests.monitoring.test_policy import ALARMED, report
from trimtab.drift import (
    ArmStatistic,
    DriftKind,
    DriftState,
    FeatureDrift,
    Harm,
    LabelledRisk,
    LabelShiftFound,
)

HARM = Harm(
    reference_accuracy=0.8, estimated_accuracy=0.7, drop=0.1, drop_low=0.05, atc_accuracy=0.6, n_reference=200, note=""
)  # fmt: skip
RISK = LabelledRisk(
    accuracy=0.75, n=40, reference_accuracy=0.8, statistic=1.0, threshold=5.0, alarm=False, drop_low=-0.1
)
SHIFT = LabelShiftFound(
    prior_before={"a": 0.5}, prior_after={"a": 0.7}, total_variation=0.2, residual=0.5, explains=True
)


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"trimtab_{name}", labels)


def test_the_state_is_one_hot() -> None:
    show_state(ALARMED)
    assert value("drift_state", model="m", state="drifting") == 1.0
    assert sum(value("drift_state", model="m", state=state) or 0.0 for state in DriftState) == 1.0


def test_the_kind_is_one_hot_while_there_is_one() -> None:
    show_state(replace(ALARMED, kind=DriftKind.VOCABULARY, severity=2))
    shown = {kind: value("drift_kind_info", model="m", kind=kind) for kind in DriftKind}
    assert shown == {kind: float(kind is DriftKind.VOCABULARY) for kind in DriftKind}
    assert value("drift_severity", model="m") == 2.0
    show_state(replace(ALARMED, state=DriftState.OK))
    assert sum(value("drift_kind_info", model="m", kind=kind) or 0.0 for kind in DriftKind) == 0.0


def test_a_reference_is_ready_when_its_thresholds_are() -> None:
    show_ready("m", ready=False)
    assert value("drift_reference_ready", model="m") == 0.0
    show_ready("m", ready=True)
    assert value("drift_reference_ready", model="m") == 1.0


def test_series_of_another_nearest_domain_end() -> None:
    arms = (ArmStatistic(name="short", statistic=2.0, threshold=1.0),)
    seen = report(2.0, arms=arms, features=(FeatureDrift(name="pca_00", ks=0.4),), anchor_ks=0.3)
    show_report(seen, raised=True)
    before = value("drift_alarms_total", model="m")
    show_report(replace(seen, nearest="mixture"), raised=False)
    assert value("drift_statistic", model="m", domain="movie", arm="short") is None
    assert value("drift_statistic", model="m", domain="mixture", arm="short") == 2.0
    assert value("drift_threshold", model="m", domain="mixture", arm="short") == 1.0
    assert value("drift_feature_ks", model="m", rank="1") == 0.4
    assert value("drift_anchor_ks", model="m") == 0.3
    assert value("drift_alarms_total", model="m") == before


def test_accuracies_are_those_of_the_version_in_use_where_they_are_known() -> None:
    show_report(report(0.5, harm=HARM, labelled=RISK), raised=False)
    assert value("drift_estimated_accuracy", model="m", version="1") == 0.7
    assert value("drift_reference_accuracy", model="m", version="1") == 0.8
    assert value("drift_labelled_accuracy", model="m", version="1") == 0.75
    show_report(report(0.5, version=2, harm=HARM), raised=False)
    assert value("drift_estimated_accuracy", model="m", version="1") is None
    assert value("drift_estimated_accuracy", model="m", version="2") == 0.7
    assert value("drift_labelled_accuracy", model="m", version="1") is None
    assert value("drift_labelled_accuracy", model="m", version="2") is None


def test_a_label_shift_is_shown_while_it_lasts() -> None:
    show_report(report(2.0, label_shift=SHIFT), raised=True)
    assert value("drift_label_shift_total_variation", model="m") == 0.2
    show_report(report(0.5), raised=False)
    assert value("drift_label_shift_total_variation", model="m") == 0.0


def test_missing_labels_are_shown_while_they_are_missing() -> None:
    show_missing({"m": {"gate": 3}})
    assert value("labels_missing", model="m", part="gate") == 3.0
    show_missing({})
    assert value("labels_missing", model="m", part="gate") is None


def test_the_memory_is_shown_by_domain_and_label_and_what_left_it_is_not() -> None:
    show_memory({("m", "film", "good"): 3, ("m", "shop", "good"): 1})
    assert value("memory_exemplars", model="m", domain="film", label="good") == 3.0
    show_memory({("m", "shop", "good"): 2})
    assert value("memory_exemplars", model="m", domain="film", label="good") is None
    assert value("memory_exemplars", model="m", domain="shop", label="good") == 2.0
