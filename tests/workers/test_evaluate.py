from __future__ import annotations

import json

import numpy as np
import pytest

from workers.evaluate import scorecard


def test_accuracy_and_balanced_accuracy() -> None:
    card = scorecard(np.array([0, 0, 0, 1, 1, 0]), np.array([0, 0, 0, 0, 1, 1]))
    assert card.right.tolist() == [True, True, True, False, True, False]
    assert card.accuracy == pytest.approx(4 / 6)
    assert card.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert json.loads(json.dumps(card.summary()))["n"] == 6


def test_only_classes_that_occur_count() -> None:
    assert scorecard(np.array([2, 2]), np.array([2, 2])).balanced_accuracy == 1.0


def test_nothing_to_score_is_not_a_number() -> None:
    card = scorecard(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    assert card.n == 0
    assert np.isnan(card.accuracy)
