"""The monitor's gauges: what Prometheus sees of a state."""

from collections.abc import Mapping

from trimtab.drift import DriftKind, DriftReport, DriftState, MonitorState
from trimtab.metrics import (
    DRIFT_ALARMS,
    DRIFT_ANCHOR_KS,
    DRIFT_ESTIMATED_ACCURACY,
    DRIFT_FEATURE_KS,
    DRIFT_KIND,
    DRIFT_LABEL_SHIFT,
    DRIFT_LABELLED_ACCURACY,
    DRIFT_REFERENCE_ACCURACY,
    DRIFT_REFERENCE_READY,
    DRIFT_SEVERITY,
    DRIFT_STATE,
    DRIFT_STATISTIC,
    DRIFT_THRESHOLD,
    FEEDBACK_PENDING,
    LABEL_REQUEST_AGE,
    LABEL_REQUESTS_OPEN,
    LABELS_MISSING,
    MEMORY_EXEMPLARS,
)

TOP_FEATURES = 5


def show_state(state: MonitorState) -> None:
    """State and kind (one-hot) and severity of a model."""
    for each in DriftState:
        DRIFT_STATE.labels(state.model, each.value).set(each is state.state)
    for kind in DriftKind:
        DRIFT_KIND.labels(state.model, kind.value).set(kind is state.kind)
    DRIFT_SEVERITY.labels(state.model).set(state.severity)


def show_ready(model: str, *, ready: bool) -> None:
    """Whether the thresholds are simulated ones."""
    DRIFT_REFERENCE_READY.labels(model).set(ready)


def show_report(report: DriftReport, *, raised: bool) -> None:
    """Statistics over thresholds against the nearest domain; series of another nearest domain end."""
    for gauge in (DRIFT_STATISTIC, DRIFT_THRESHOLD):
        gauge.remove_by_labels({"model": report.model})
    for arm in report.arms:
        DRIFT_STATISTIC.labels(report.model, report.nearest, arm.name).set(arm.statistic)
        DRIFT_THRESHOLD.labels(report.model, report.nearest, arm.name).set(arm.threshold)
    for rank, feature in enumerate(report.features[:TOP_FEATURES], start=1):
        DRIFT_FEATURE_KS.labels(report.model, str(rank)).set(feature.ks)
    DRIFT_ANCHOR_KS.labels(report.model).set(report.anchor_ks)
    found = report.label_shift
    DRIFT_LABEL_SHIFT.labels(report.model).set(found.total_variation if found else 0.0)
    DRIFT_ALARMS.labels(report.model).inc(raised)
    _show_accuracy(report)


def _show_accuracy(report: DriftReport) -> None:
    """Of the version in use; nothing where nothing is known."""
    for gauge in (DRIFT_ESTIMATED_ACCURACY, DRIFT_REFERENCE_ACCURACY, DRIFT_LABELLED_ACCURACY):
        gauge.remove_by_labels({"model": report.model})
    version = str(report.version)
    if report.harm is not None:
        DRIFT_ESTIMATED_ACCURACY.labels(report.model, version).set(report.harm.estimated_accuracy)
        DRIFT_REFERENCE_ACCURACY.labels(report.model, version).set(report.harm.reference_accuracy)
    if report.labelled is not None:
        DRIFT_LABELLED_ACCURACY.labels(report.model, version).set(report.labelled.accuracy)


def show_missing(missing: Mapping[str, Mapping[str, int]]) -> None:
    """Labels that waiting jobs lack, by model and part; all other series end."""
    LABELS_MISSING.clear()
    for model, parts in missing.items():
        for part, n in parts.items():
            LABELS_MISSING.labels(model, part).set(n)


def show_memory(sizes: Mapping[tuple[str, str, str], int]) -> None:
    """Exemplars by model, domain and label; series of what left the memory end."""
    MEMORY_EXEMPLARS.clear()
    for (model, domain, label), n in sizes.items():
        MEMORY_EXEMPLARS.labels(model, domain, label).set(n)


def show_requests(requests: Mapping[tuple[str, str], tuple[int, float]], n_pending: int) -> None:
    """Open label requests and the age in seconds of the oldest, by model and reason; labels without a prediction."""
    LABEL_REQUESTS_OPEN.clear()
    LABEL_REQUEST_AGE.clear()
    for (model, reason), (n, _) in requests.items():
        LABEL_REQUESTS_OPEN.labels(model, reason).set(n)
    for model in {model for model, _ in requests}:
        oldest = max(age_s for (name, _), (_, age_s) in requests.items() if name == model)
        LABEL_REQUEST_AGE.labels(model).set(oldest)
    FEEDBACK_PENDING.set(n_pending)
