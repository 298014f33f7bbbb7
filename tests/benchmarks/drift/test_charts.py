"""Charts are well-formed SVG, with every line inside its axes."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.drift.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, line_chart

LINES = {"a < b": [(0.0, 0.0), (50.0, 0.4), (120.0, 0.9)], "none": []}
NAMES = "{http://www.w3.org/2000/svg}"


def parsed(chart: str) -> ET.Element:
    return ET.fromstring(chart)  # noqa: S314 - our own text


def points(element: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in element.attrib["points"].split())]


def test_a_chart_is_svg_with_its_words() -> None:
    root = parsed(line_chart("Alarms & more", "T", "share", LINES))
    texts = [element.text for element in root.iter(f"{NAMES}text")]
    assert {"Alarms & more", "T", "share", "a < b", "none"} <= set(texts)
    assert "200" in texts  # the next round number above 120
    assert "1" in texts


def test_lines_lie_inside_the_axes_in_their_proportions() -> None:
    root = parsed(line_chart("t", "x", "y", LINES, band=[(0, 0), (120, 0.5), (120, 0.2)]))
    (line,) = list(root.iter(f"{NAMES}polyline"))
    drawn = points(line)
    assert drawn[0] == pytest.approx((LEFT, HEIGHT - BOTTOM))
    assert drawn[2][0] == pytest.approx(LEFT + (WIDTH - LEFT - RIGHT) * 120 / 200, abs=0.1)
    assert drawn[2][1] == pytest.approx(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * 0.9, abs=0.1)
    (band,) = list(root.iter(f"{NAMES}polygon"))
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in points(band))


def test_a_chart_of_zeros_can_be_drawn_and_one_of_nothing_cannot() -> None:
    parsed(line_chart("t", "x", "y", {"zero": [(0, 0)]}))
    with pytest.raises(ValueError, match="nothing to draw"):
        line_chart("t", "x", "y", {"none": []})
