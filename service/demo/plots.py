"""Three plots over the events of a run, as plain characters: accuracy, drift, version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.demo.measured import Measured
from service.replay import Sent, balanced_accuracy

WINDOW = 200
HEIGHT = 12


@dataclass(frozen=True)
class Paper:
    """What the plots share: width in characters, events on the x axis, events at which a segment starts."""

    width: int
    n_events: int
    starts: tuple[int, ...]


def draw_plots(measured: Measured, width: int) -> list[str]:
    """Rolling balanced accuracy, drift statistic over threshold, and version in use, each over the events sent."""
    paper = Paper(width, len(measured.sent), tuple(measured.segments.values())[1:])
    newest = max((y for _, y in _versions(measured.sent)), default=1.0)
    ratios = _ratios(measured.reports)
    largest = max((y for _, y in ratios), default=1.0)
    return [
        _plot(f"balanced accuracy of the last {WINDOW} events", rolling(measured.sent), paper, (0.5, 1.0)),
        _plot("drift statistic over threshold (alarm above 1)", ratios, paper, (0.0, largest), level=1.0),
        _plot("version that answered", _versions(measured.sent), paper, (0.5, newest + 0.5)),
    ]


def rolling(sent: Sequence[Sent]) -> list[tuple[float, float]]:
    """(event, balanced accuracy of the last `WINDOW` answered events), every tenth of a window."""
    answered = [(one.row.label, one.answer.label) for one in sent if one.answer is not None]
    ends = range(WINDOW, len(answered) + 1, WINDOW // 10)
    return [(end, balanced_accuracy(answered[end - WINDOW : end])) for end in ends]


def _ratios(reports: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    return [
        (report["events_seen"], max(arm["statistic"] / arm["threshold"] for arm in report["arms"]))
        for report in reports
        if report["arms"]
    ]


def _versions(sent: Sequence[Sent]) -> list[tuple[float, float]]:
    return [(i, one.answer.version) for i, one in enumerate(sent) if one.answer is not None and i % 10 == 0]


def _plot(
    title: str,
    points: Sequence[tuple[float, float]],
    paper: Paper,
    limits: tuple[float, float],
    *,
    level: float | None = None,
) -> str:
    """One plot without colours; vertical lines where a segment of the stream starts."""
    import plotext

    if not points:
        return f"{title}: nothing was measured"
    figure = plotext.figure
    figure.clear()
    figure.plot_size(paper.width, HEIGHT)
    figure.title(title)
    signal = figure.signal([x for x, _ in points], [y for _, y in points])
    signal.lines()
    figure.draw(signal)
    for start in paper.starts:
        figure.line(start, "vertical")
    if level is not None:
        figure.line(level, "horizontal")
    figure.ruler("x").lim(0, paper.n_events)
    marks = range(0, paper.n_events + 1, max(1, -(-paper.n_events // 600)) * 100)
    figure.ruler("x").ticks(list(marks), [f"{mark:,}" for mark in marks])
    figure.ruler("y").lim(*limits)
    return str(plotext.uncolorize(str(figure.build())))
