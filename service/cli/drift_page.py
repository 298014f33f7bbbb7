"""The page of `trimtab drift NAME`: state, arms over time, and of the newest alarm its harm, features and examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from service.cli.show import ago, console, print_table

if TYPE_CHECKING:
    from trimtab.drift import DriftReport, MonitorState

LEVELS = "▁▂▃▄▅▆▇█"
CUT = 110  # characters of an example


def show_page(
    state: MonitorState, reports: Sequence[DriftReport], alarm: dict[str, Any] | None, limit: int
) -> None:
    """Reports newest first; `alarm` is the newest one with evidence, as `drift_view.full_report` gives it."""
    kind = f" ({state.kind}, severity {state.severity})" if state.kind else ""
    _say(f"{state.model}: {state.state}{kind}, {ago(state.since)}. {state.state.meaning} {state.detail}")
    if reports:
        _show_arms(reports)
    if alarm is not None:
        _show_alarm(alarm)
    columns = ("when", "version", "state", "events", "largest ratio", "max D", "kind", "nearest", "job")
    print_table("Checks, newest first", columns, map(_cells, reports[:limit]), empty="No check yet.")


def sparkline(values: Iterable[float], top: float) -> str:
    """One character a value, from 0 to `top`; the full block means `top` or more."""
    return "".join(LEVELS[min(max(int(value / top * 7), 0), 7)] for value in values)


def _show_arms(reports: Sequence[DriftReport]) -> None:
    newest = reports[0]
    rows = [
        (
            arm.name,
            f"{arm.statistic:.4g}",
            f"{arm.threshold:.4g}" + (f" ({arm.low:.4g} to {arm.high:.4g})" if arm.low is not None else ""),
            f"{arm.ratio:.2f}",
            sparkline(_history(reports, arm.name), 1.0),
        )
        for arm in newest.arms
    ]
    thresholds = "simulated" if newest.calibrated else "safe ones until the simulation is done"
    title = f"Arms at the newest check (alarm above a ratio of 1; thresholds: {thresholds})"
    print_table(title, ("arm", "statistic", "threshold", "ratio", "history (█ = alarm)"), rows, empty="")
    if all(arm.name != "e_detector" for arm in newest.arms):
        _say("The e-detector is off: the reference is too small, or its traffic comes in sessions.")


def _history(reports: Sequence[DriftReport], name: str) -> list[float]:
    """Ratios of an arm, oldest first."""
    return [arm.ratio for report in reversed(reports) for arm in report.arms if arm.name == name]


def _show_alarm(alarm: dict[str, Any]) -> None:
    _say(f"Newest alarm, {ago(alarm['created_at'])}: {alarm['explanation']}")
    if alarm["change_from_seq"] is not None:
        _say(
            f"It changed at about sample {alarm['change_from_seq']} (this window ends at {alarm['last_seq']})."
        )
    for line in (_harm(alarm["harm"]), _labelled(alarm["labelled"]), _prior(alarm["label_shift"])):
        if line:
            _say(line)
    evidence = alarm["evidence"]
    _show_features(evidence["features"])
    _say(
        f"{evidence['unexplained_share']:.0%} of the window look like nothing known (at least "
        f"{evidence['unexplained_low']:.0%}); separability {evidence['separability']:.2f} (0.5: none)."
    )
    for title, found in (("client", evidence["clients"]), ("domain", evidence["domains"])):
        rows = [(each["name"], f"{each['share']:.0%}", f"{each['share_new']:.0%}") for each in found]
        print_table(f"By {title}", (title, "of the window", "of what is new"), rows, empty="")
    _show_examples(evidence)


def _harm(harm: dict[str, Any] | None) -> str:
    if harm is None:
        return "Accuracy cannot be estimated: fewer than 100 reference rows have a label."
    return (
        f"Accuracy: estimated {harm['estimated_accuracy']:.3f} against {harm['reference_accuracy']:.3f} on the "
        f"reference, a drop of {harm['drop']:.3f} (at least {harm['drop_low']:.3f}); ATC {harm['atc_accuracy']:.3f}. "
        f"{harm['note'].capitalize()}."
    )


def _labelled(risk: dict[str, Any] | None) -> str:
    if risk is None:
        return ""
    return (
        f"Labels: accuracy {risk['accuracy']:.3f} over the newest {risk['n']}, {risk['reference_accuracy']:.3f} on "
        f"the reference: {'alarm' if risk['alarm'] else 'no alarm'}."
    )


def _prior(found: dict[str, Any] | None) -> str:
    if found is None or not found["explains"]:
        return ""
    moved = ", ".join(
        f"{label} {before:.0%} -> {found['prior_after'][label]:.0%}"
        for label, before in found["prior_before"].items()
    )
    return f"The classes' shares explain it: {moved}."


def _show_features(features: Sequence[dict[str, Any]]) -> None:
    rows = [
        (
            feature["name"],
            f"{feature['ks']:.3f}",
            f"{feature['share']:.0%}",
            _histogram(feature, "before"),
            _histogram(feature, "after"),
        )
        for feature in features
    ]
    columns = ("feature", "D", "of the change", "before", "after")
    print_table("Features that moved most", columns, rows, empty="")


def _histogram(feature: dict[str, Any], which: str) -> str:
    top = max([*feature["before"], *feature["after"]], default=1.0)
    return sparkline(feature[which], top or 1.0)


def _show_examples(evidence: dict[str, Any]) -> None:
    for title, found in (
        ("Inputs that look newest:", evidence["typical_new"]),
        ("Nearest known texts:", evidence["nearest_old"]),
    ):
        if found:
            _say(title)
        for each in found:
            text = each.get("text")
            _say(f"  - {' '.join(text.split())[:CUT]}" if text else "  - (no longer kept)")


def _cells(report: DriftReport) -> tuple[Any, ...]:
    return (
        ago(report.created_at),
        report.version,
        report.state,
        report.events_seen,
        f"{report.ratio:.2f}",
        f"{report.max_ks:.3f}",
        report.kind,
        report.nearest,
        (report.job_id or "")[:8],
    )


def _say(line: str) -> None:
    """A line that is no markup, whatever stands in it."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
