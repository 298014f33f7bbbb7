"""Plain SVG plots: points with intervals, by series. Small enough to need no plotting library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 40, 50
# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#0072b2", "#cc79a7", "#999999")


@dataclass(frozen=True)
class Point:
    """A value at x with its interval; x counts from 0 where the axis has names."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """Points of one colour."""

    name: str
    points: tuple[Point, ...]


def plot(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    names: Sequence[str] = (),
    log: bool = False,
    joined: bool = False,
) -> str:
    """An SVG document. Raises ValueError without points.

    Args:
        names: of the positions 0, 1, ... on the x axis; without them the axis is numeric.
        log: logarithmic y axis; all values must be positive.
        joined: points of a series are joined by a line, intervals are left out.
    """
    points = [point for each in series for point in each.points]
    if not points:
        raise ValueError("nothing to plot")
    to_x = _scale(*_x_range(points, names), LEFT, WIDTH - RIGHT)
    low, high = min(p.low for p in points), max(p.high for p in points)
    bottom = low / 1.15 if log else min(0.0, low)
    to_y = _scale(bottom, high * 1.1 or 1.0, HEIGHT - BOTTOM, TOP, log=log)
    parts = [_text(WIDTH / 2 - RIGHT / 4, 22, title, "middle", 15)]
    parts += _axes(to_x, to_y, points, names, _ticks(bottom, high * 1.1, log=log))
    parts += [_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label, "middle")]
    parts += [f'<g transform="translate(16 {HEIGHT / 2}) rotate(-90)">{_text(0, 0, y_label, "middle")}</g>']
    for number, each in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        parts += _marks(each, to_x, to_y, colour, joined=joined)
        parts += [f'<circle cx="{WIDTH - RIGHT + 20}" cy="{TOP + 20 * number}" r="4" fill="{colour}"/>']
        parts += [_text(WIDTH - RIGHT + 30, TOP + 4 + 20 * number, each.name, "start")]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *parts, "</svg>\n"])


Scale = Callable[[float], float]


def _scale(low: float, high: float, start: float, end: float, *, log: bool = False) -> Scale:
    forward: Scale = math.log if log else float
    span = forward(high) - forward(low) or 1.0
    return lambda value: start + (forward(value) - forward(low)) / span * (end - start)


def _x_range(points: Sequence[Point], names: Sequence[str]) -> tuple[float, float]:
    if names:
        return -0.5, len(names) - 0.5
    return min(p.x for p in points), max(p.x for p in points)


def _ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Round values within the range: 1, 2, 5 times powers of ten, about five of them on a linear axis."""
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        every = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    else:
        rough = 10.0 ** math.floor(math.log10(high - low))
        step = next(rough * k for k in (0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / (rough * k) <= 6)
        every = [step * k for k in range(math.floor(low / step), math.ceil(high / step) + 1)]
    return [value for value in every if low <= value <= high]


def _axes(
    to_x: Scale, to_y: Scale, points: Sequence[Point], names: Sequence[str], ticks: Sequence[float]
) -> list[str]:
    parts = [
        f'<line x1="{LEFT}" y1="{to_y(y):.1f}" x2="{WIDTH - RIGHT}" y2="{to_y(y):.1f}" stroke="#ddd"/>'
        for y in ticks
    ]
    parts += [_text(LEFT - 8, to_y(y) + 4, f"{y:g}", "end") for y in ticks]
    named: list[tuple[float, str]] = [(float(x), name) for x, name in enumerate(names)]
    labels = named or [(x, f"{x:g}") for x in _ticks(*_x_range(points, ()), log=False)]
    return parts + [_text(to_x(x), HEIGHT - BOTTOM + 20, label, "middle") for x, label in labels]


def _marks(each: Series, to_x: Scale, to_y: Scale, colour: str, *, joined: bool) -> list[str]:
    places = [(to_x(p.x), to_y(p.y), to_y(p.low), to_y(p.high)) for p in each.points]
    if joined:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places)
        return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>']
    bars = [
        f'<line x1="{x:.1f}" y1="{a:.1f}" x2="{x:.1f}" y2="{b:.1f}" stroke="{colour}"/>'
        for x, _, a, b in places
    ]
    return bars + [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y, _, _ in places]


def _text(x: float, y: float, content: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(content)}</text>'
