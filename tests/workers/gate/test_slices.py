from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from workers.gate.evidence import Rows
from workers.gate.slices import MAX_FLIPS, flips, slices
from workers.gate.verdict import Result


def log_probabilities(right: Any, truth: Any) -> Any:
    """(n, 2) log probabilities that are right where they should be."""
    answer = np.where(right, truth, 1 - truth)
    return np.log(np.where(np.arange(2) == answer[:, None], 0.9, 0.1))


def rows(before: Any, after: Any, groups: dict[str, list[str]] | None = None, weights: Any = None) -> Rows:
    truth = np.arange(len(before)) % 2
    return Rows(
        truth=truth,
        incumbent=log_probabilities(np.asarray(before), truth),
        candidate=log_probabilities(np.asarray(after), truth),
        groups={kind: np.array(names) for kind, names in (groups or {}).items()},
        weights=weights,
    )


def changed(n: int, lost: int, gained: int) -> tuple[Any, Any]:
    before = np.ones(n, dtype=bool)
    after = before.copy()
    before[lost : lost + gained] = False
    after[:lost] = False
    return before, after


def test_flips_are_the_answers_that_turned_wrong() -> None:
    found = flips(rows(*changed(1000, 30, 200)), 0.05)
    assert found.value == 0.03
    assert found.result is Result.PASS
    assert found.bound is not None
    assert found.bound < 0.03


def test_many_flips_fail_whatever_was_gained() -> None:
    assert flips(rows(*changed(1000, 90, 300)), 0.05).result is Result.FAIL


def test_a_few_points_above_by_chance_pass() -> None:
    assert flips(rows(*changed(200, 12, 0)), 0.05).result is Result.PASS  # 6 % of 200: 5 % is not excluded


def test_weighted_flips() -> None:
    before, after = changed(1000, 100, 0)
    weights = np.where(np.arange(1000) < 100, 0.1, 1.0)
    found = flips(rows(before, after, weights=weights), 0.05)
    assert found.value is not None
    assert abs(found.value - 10 / 910) < 1e-12
    assert found.result is Result.PASS


def test_flips_at_the_limit_fail_at_the_level() -> None:
    rng = np.random.default_rng(1)
    draws = 400
    failed = sum(
        flips(rows(*changed(500, int(rng.binomial(500, MAX_FLIPS)), 0)), 0.05).result is Result.FAIL
        for _ in range(draws)
    )
    assert failed <= binom.ppf(0.999, draws, 0.05)


GROUPS = {"client": ["a"] * 100 + ["b"] * 900}


def test_one_client_that_loses_fails() -> None:
    before = np.ones(1000, dtype=bool)
    after = before.copy()
    after[:30] = False
    before[100:400] = False  # everybody else gains
    found = slices(rows(before, after, GROUPS))
    assert found.result is Result.FAIL
    assert found.n == 100
    assert found.value == 0.3
    assert "client a -0.300" in found.detail


def test_a_drop_that_may_be_chance_passes() -> None:
    """12 lost and 3 gained of 100: 9 points, but p = 0.035 with two slices to be looked at."""
    before, after = np.ones(1000, dtype=bool), np.ones(1000, dtype=bool)
    after[:12], before[12:15] = False, False
    found = slices(rows(before, after, GROUPS))
    assert found.value == pytest.approx(0.09)
    assert found.result is Result.PASS
    assert slices(rows(before, after, {"client": ["a"] * 100 + [""] * 900})).result is Result.FAIL


def test_a_small_slice_is_not_looked_at() -> None:
    before, after = changed(1000, 49, 0)
    assert slices(rows(before, after, {"client": ["a"] * 49 + [""] * 951})).result is Result.INSUFFICIENT
    assert slices(rows(before, after, {"client": ["a"] * 50 + [""] * 950})).result is Result.FAIL


def test_weighted_classes_are_not_cut_into_slices() -> None:
    found = slices(rows(*changed(200, 100, 0), {"class": ["a"] * 200}, weights=np.ones(200)))
    assert found.result is Result.INSUFFICIENT
    assert "weighted" in found.detail


def test_equals_fail_at_the_level_over_all_slices() -> None:
    rng = np.random.default_rng(5)
    draws, failed = 200, 0
    groups = {kind: rng.integers(0, 3, 600).astype(str).tolist() for kind in ("class", "client", "length")}
    for _ in range(draws):
        before, after = rng.random(600) < 0.75, rng.random(600) < 0.75
        failed += slices(rows(before, after, groups)).result is Result.FAIL
    assert failed <= binom.ppf(0.999, draws, 0.05)
