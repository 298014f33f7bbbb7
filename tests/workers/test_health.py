from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from workers.health import SAME_CLASSES, SAME_CONFIDENCE, SLACK, Health

SOUND = Health(
    like="movie", shares_moved=0.02, confidence_moved=0.01, n=400, accuracy=0.9, n_reference=800,
    reference_accuracy=0.9, tolerance=0.05, bound=0.03, power=0.8, surplus=0.01, surplus_error=0.02, alpha=0.05,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "harmless", "unmoved", "miscalibrated"),
    [
        ({}, True, True, False),
        ({"bound": 0.05}, False, True, False),
        ({"shares_moved": SAME_CLASSES + 0.01}, True, False, False),
        ({"confidence_moved": -SAME_CONFIDENCE - 0.01}, True, False, False),
        ({"surplus": 0.08}, True, True, True),
        ({"surplus": -0.08}, True, True, True),
        ({"surplus": 0.08, "surplus_error": 0.04}, True, True, False),
        ({"surplus": SLACK, "surplus_error": 0.0}, True, True, False),
    ],
)
def test_what_follows_from_the_numbers(
    changes: dict[str, Any], harmless: bool, unmoved: bool, miscalibrated: bool
) -> None:
    found = replace(SOUND, **changes)
    assert (found.harmless, found.unmoved, found.miscalibrated) == (harmless, unmoved, miscalibrated)


def test_the_words_say_the_bound_and_the_power() -> None:
    assert "at most +0.030 (0.050 is tolerated; power 0.80)" in SOUND.words
    assert SOUND.loss == 0.0
