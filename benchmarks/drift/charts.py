"""Line charts as SVG, by hand: a few lines of text instead of a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 700, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 230, 34, 44
COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#b8860b", "#6a4c93", "#444444", "#008b8b", "#a0522d")
N_TICKS = 5


def line_chart(
    title: str, x_label: str, y_label: str, lines: Mapping[str, Points], *, band: Points = ()
) -> str:
    """An SVG of lines by name from (0, 0) on; `band` is a polygon behind them. Empty lines are only in the legend.

    Raises:
        ValueError: there is no point at all.
    """
    points = [point for line in lines.values() for point in line] + list(band)
    if not points:
        raise ValueError(f"nothing to draw in {title!r}")
    top_x, top_y = (_ceiling(max(point[axis] for point in points)) for axis in (0, 1))
    scale = _Scale(top_x, top_y)
    parts = [_text(LEFT, 18, title, "font-weight='bold'"), *_axes(scale, x_label, y_label)]
    if band:
        parts.append(f"<polygon points='{scale.path(band)}' fill='#999' fill-opacity='0.25'/>")
    for number, (name, line) in enumerate(lines.items()):
        parts += _line(scale, number, name, line)
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif'"
    return f"{head} font-size='11'><rect width='100%' height='100%' fill='white'/>{''.join(parts)}</svg>\n"


class _Scale:
    """Data to pixels."""

    def __init__(self, top_x: float, top_y: float) -> None:
        self.top_x, self.top_y = top_x, top_y

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.top_x

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.top_y

    def path(self, points: Points) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)


def _ceiling(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= value * (1 - 1e-9))


def _axes(scale: _Scale, x_label: str, y_label: str) -> list[str]:
    left, right, low = scale.x(0), scale.x(scale.top_x), scale.y(0)
    parts = [
        f"<path d='M{left},{TOP} V{low} H{right}' fill='none' stroke='#333'/>",
        _text((left + right) / 2, HEIGHT - 8, x_label, "text-anchor='middle'"),
        _text(LEFT - 40, TOP - 6, y_label, ""),
    ]
    for i in range(N_TICKS + 1):
        x, y = scale.top_x * i / N_TICKS, scale.top_y * i / N_TICKS
        parts.append(_text(scale.x(x), low + 15, _tick(x), "text-anchor='middle'"))
        parts.append(_text(left - 5, scale.y(y) + 4, _tick(y), "text-anchor='end'"))
    return parts


def _line(scale: _Scale, number: int, name: str, points: Points) -> list[str]:
    colour, y = COLOURS[number % len(COLOURS)], TOP + 16 * number
    x = WIDTH - RIGHT + 14
    drawn = f"<polyline points='{scale.path(points)}' fill='none' stroke='{colour}' stroke-width='1.8'/>"
    key = f"<path d='M{x},{y} h14' stroke='{colour}' stroke-width='3'/>"
    return [drawn if points else "", key, _text(x + 19, y + 4, name, "")]


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.4g}"


def _text(x: float, y: float, text: str, more: str) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' {more}>{escape(text)}</text>"
