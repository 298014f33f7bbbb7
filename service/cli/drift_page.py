"""The page of `trimtab drift NAME`: what to do and whether it hurts; with `--full` arms, features, examples, checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.cli.show import ago, brief, console, print_table

if TYPE_CHECKING:
    from trimtab.drift import DriftReport, MonitorState
    from trimtab.jobs import AdaptationJob

LEVELS = "▁▂▃▄▅▆▇█"
CUT = 110  # characters of an example


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a model stands with its inputs.

    Attributes:
        state: As the monitor saved it last.
        champion: The version that serves; None when none does.
        reports: Newest first.
        alarm: The newest report with evidence, if it is of the champion, as `drift_view.full_report` gives it.
        job: The adaptation that has not ended.
    """

    state: MonitorState
    champion: int | None
    reports: tuple[DriftReport, ...]
    alarm: dict[str, Any] | None
    job: AdaptationJob | None


def show_brief(standing: Standing) -> None:
    """What to do, where it stands, and of the newest alarm whether it hurts and what moved."""
    reports, alarm = standing.reports, standing.alarm
    _say(f"To do: {to_do(standing)}")
    _say(f"{state_line(standing.state)} Since {ago(standing.state.since)}. {standing.state.state.meaning}")
    if reports:
        largest = sparkline([report.ratio for report in reversed(reports)], 1.0)
        _say(f"Largest ratio to the threshold: {reports[0].ratio:.2f}  {largest} (█ = alarm, newest last)")
    if alarm is not None:
        _say(f"Alarm, {ago(alarm['created_at'])}: {alarm['explanation']}")
        for line in (_harm(alarm["harm"]), _labelled(alarm["labelled"]), _prior(alarm["label_shift"])):
            if line:
                _say(line)
        moved = [f"{each['name']} {each['share']:.0%}" for each in alarm["evidence"]["features"][:3]]
        if moved:
            _say(f"Moved most: {', '.join(moved)} of the change.")
    _say(f"`trimtab drift {standing.state.model} --full` shows arms, features, examples and checks.")


def to_do(standing: Standing) -> str:
    """One line for the person on call."""
    state, job, name = standing.state.state.value, standing.job, standing.state.model
    if standing.champion is not None and standing.state.version not in {0, standing.champion}:
        return f"wait: version {standing.champion} serves, and the monitor has not looked at its traffic yet."
    if job is not None and job.missing:
        return f"give labels ({brief(job.missing)}): `trimtab labels export {name}`, or the console."
    if job is not None:
        return f"nothing: job {job.id[:8]} is {job.status} (`trimtab jobs {name} --watch`)."
    return _TO_DO[state].format(name=name)


_NOTHING = "nothing."
_TO_DO = {
    "collecting": "nothing: send traffic, or give a reference by `trimtab init` with data.",
    "calibrating": _NOTHING,
    "ok": _NOTHING,
    "known": _NOTHING,
    "suspect": "nothing yet: the next check confirms it or not.",
    "drifting": "`trimtab adapt {name}`, or `trimtab drift acknowledge {name}` if it is as it should be.",
    "acknowledged": "nothing: it is accepted until it grows or proves harmful.",
    "adapting": "see what became of the job: `trimtab jobs {name}`.",
    "cooldown": "wait, or `trimtab adapt {name}` to adapt now.",
    "needs_human": "look at `trimtab jobs {name}`, give labels, then `trimtab adapt {name}`, or acknowledge it.",
}


def state_line(state: MonitorState) -> str:
    """Where it stands, without ages."""
    kind = f" ({state.kind}, severity {state.severity})" if state.kind else ""
    return f"{state.model}: {state.state}{kind}. {state.detail}".strip()


def show_page(standing: Standing, limit: int) -> None:
    """Everything, with the newest `limit` checks."""
    _say(f"To do: {to_do(standing)}")
    _say(f"{state_line(standing.state)} Since {ago(standing.state.since)}. {standing.state.state.meaning}")
    if standing.reports:
        _show_arms(standing.reports)
    if standing.alarm is not None:
        _show_alarm(standing.alarm)
    columns = ("when", "version", "state", "events", "largest ratio", "max D", "kind", "nearest", "job")
    checks = map(_cells, standing.reports[:limit])
    print_table("Checks, newest first", columns, checks, empty="No check yet.")


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
