"""Values with intervals as SVG: one row a method, so that lengths are compared and nothing starts at zero by force."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.adaptation.scores import Figure

WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 700, 190, 20, 40, 22, 40
COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#b8860b")
MOST_TICKS = 7


def interval_chart(
    title: str, x_label: str, rows: Mapping[str, Sequence[Figure]], series: Sequence[str]
) -> str:
    """An SVG with a row a name; each row has a figure (a share, shown in points) for every series, or fewer.

    Raises ValueError when there is no figure.
    """
    figures = [each for row in rows.values() for each in row]
    if not figures:
        raise ValueError(f"nothing to draw in {title!r}")
    low, high = min(each.low for each in figures), max(each.high for each in figures)
    axis = _Axis(low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1))
    step = ROW * max(len(series), 1)
    height = TOP + step * len(rows) + BOTTOM
    parts = [_text(10, 18, title, "font-weight='bold'"), *_ticks(axis, height, x_label), *_key(series)]
    for number, (name, row) in enumerate(rows.items()):
        parts.append(_text(LEFT - 10, TOP + step * (number + 0.5) + 4, name, "text-anchor='end'"))
        for i, each in enumerate(row):
            parts.append(_bar(axis, TOP + step * number + ROW * (i + 0.5), COLOURS[i % len(COLOURS)], each))
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' font-family='sans-serif'"
    return f"{head} font-size='11'><rect width='100%' height='100%' fill='white'/>{''.join(parts)}</svg>\n"


class _Axis:
    """Shares to pixels."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.low) / (self.high - self.low)


def _bar(axis: _Axis, y: float, colour: str, each: Figure) -> str:
    line = f"<path d='M{axis.x(each.low):.1f},{y:.1f} H{axis.x(each.high):.1f}' stroke='{colour}' stroke-width='2'/>"
    return f"{line}<circle cx='{axis.x(each.value):.1f}' cy='{y:.1f}' r='4' fill='{colour}'/>"


def _ticks(axis: _Axis, height: int, label: str) -> list[str]:
    low = height - BOTTOM
    parts = [_text((LEFT + WIDTH - RIGHT) / 2, height - 6, label, "text-anchor='middle'")]
    for points in round_ticks(100 * axis.low, 100 * axis.high):
        x = axis.x(points / 100)
        parts.append(f"<path d='M{x:.1f},{TOP} V{low}' stroke='#ddd'/>")
        parts.append(_text(x, low + 14, f"{points:g}", "text-anchor='middle'"))
    return parts


def round_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two numbers: the finest of at most seven."""
    for exponent in range(math.floor(math.log10(high - low)) - 1, 4):
        for digit in (1, 2, 5):
            step = digit * 10.0**exponent
            first, last = math.ceil(low / step), math.floor(high / step)
            if last - first < MOST_TICKS:
                return [round(i * step, 10) for i in range(first, last + 1)]
    return []


def _key(series: Sequence[str]) -> list[str]:
    parts = []
    for i, name in enumerate(series):
        x = LEFT + 220 * i
        parts.append(f"<circle cx='{x}' cy='30' r='4' fill='{COLOURS[i % len(COLOURS)]}'/>")
        parts.append(_text(x + 8, 34, name, ""))
    return parts


def _text(x: float, y: float, text: str, more: str) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' {more}>{escape(text)}</text>"
