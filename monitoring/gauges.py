"""The monitor's gauges: what Prometheus sees of a state."""

from collections.abc import Mapping

from trimtab.drift import DriftReport, DriftState, MonitorState
from trimtab.metrics import (
    DRIFT_ALARMS,
    DRIFT_FEATURE_KS,
    DRIFT_LABELLED_ACCURACY,
    DRIFT_SEVERITY,
    DRIFT_STATE,
    DRIFT_STATISTIC,
    DRIFT_THRESHOLD,
    LABELS_MISSING,
)

TOP_FEATURES = 5


def show_state(state: MonitorState) -> None:
    """State (one-hot) and severity of a model."""
    for each in DriftState:
        DRIFT_STATE.labels(state.model, each.value).set(each is state.state)
    DRIFT_SEVERITY.labels(state.model).set(state.severity)


def show_report(report: DriftReport, *, raised: bool) -> None:
    """Statistics over thresholds against the nearest domain; series of another nearest domain end."""
    for gauge in (DRIFT_STATISTIC, DRIFT_THRESHOLD):
        gauge.remove_by_labels({"model": report.model})
    for arm in report.arms:
        DRIFT_STATISTIC.labels(report.model, report.nearest, arm.name).set(arm.statistic)
        DRIFT_THRESHOLD.labels(report.model, report.nearest, arm.name).set(arm.threshold)
    for rank, feature in enumerate(report.features[:TOP_FEATURES], start=1):
        DRIFT_FEATURE_KS.labels(report.model, str(rank)).set(feature.ks)
    DRIFT_ALARMS.labels(report.model).inc(raised)


def show_accuracy(model: str, version: int, accuracy: float, n: int) -> None:
    """Accuracy on labelled traffic of the version in use; nothing while there are no labels."""
    DRIFT_LABELLED_ACCURACY.remove_by_labels({"model": model})
    if n:
        DRIFT_LABELLED_ACCURACY.labels(model, str(version)).set(accuracy)


def show_missing(missing: Mapping[str, Mapping[str, int]]) -> None:
    """Labels that waiting jobs lack, by model and part; all other series end."""
    LABELS_MISSING.clear()
    for model, parts in missing.items():
        for part, n in parts.items():
            LABELS_MISSING.labels(model, part).set(n)
