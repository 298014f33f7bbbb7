"""Three plots over the events of a run, as plain characters: accuracy, drift, version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.demo.measured import Measured
from service.replay import Sent, balanced_accuracy

WINDOW = 200
HEIGHT = 12


def draw_plots(measured: Measured, width: int) -> list[str]:
    """Rolling balanced accuracy, drift statistic over threshold, and version in use, each over the events sent."""
    starts = list(measured.segments.values())[1:]
    return [
        _plot(
            f"balanced accuracy of the last {WINDOW} events",
            rolling(measured.sent),
            width,
            starts,
            limits=(0.5, 1.0),
        ),
        _plot(
            "drift statistic over threshold (alarm above 1)",
            _ratios(measured.reports),
            width,
            starts,
            level=1.0,
        ),
        _plot("version that answered", _versions(measured.sent), width, starts),
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
    width: int,
    starts: Sequence[int],
    *,
    limits: tuple[float, float] | None = None,
    level: float | None = None,
) -> str:
    """One plot without colours; vertical lines where a segment of the stream starts."""
    import plotext

    if not points:
        return f"{title}: nothing was measured"
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, HEIGHT)
    figure.title(title)
    signal = figure.signal([x for x, _ in points], [y for _, y in points])
    signal.lines()
    figure.draw(signal)
    for start in starts:
        figure.line(start, "vertical")
    if level is not None:
        figure.line(level, "horizontal")
    if limits is not None:
        figure.ruler("y").lim(*limits)
    return str(plotext.uncolorize(str(figure.build())))
