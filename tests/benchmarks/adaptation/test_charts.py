from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.adaptation.charts import MOST_TICKS, round_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (82.3, 87.1, [83, 84, 85, 86, 87]),
        (-0.2, 11.3, [0, 2, 4, 6, 8, 10]),
        (84.87, 85.12, [84.9, 84.95, 85, 85.05, 85.1]),
        (0.1, 0.9, [0.2, 0.4, 0.6, 0.8]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert round_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(-100, 100), st.floats(0.01, 200))
def test_there_are_at_least_two_and_none_lies_outside(low: float, width: float) -> None:
    ticks = round_ticks(low, low + width)
    assert 2 <= len(ticks) <= MOST_TICKS
    assert low - 1e-9 <= ticks[0] < ticks[-1] <= low + width + 1e-9
