"""The estimated start of a change: near the truth, and late rather than early."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.change import change_start

N, D = 900, 20


def errors(kind: str, size: float, back: int) -> np.ndarray:
    found = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        before, samples = random.normal(size=(800, D)), random.normal(size=(N, D))
        if kind == "mean":
            samples[-back:, :8] += size
        else:
            samples[-back:, :8] *= 1 + size
        found.append(change_start(before, samples) - (N - back))
    return np.array(found)


@pytest.mark.parametrize("kind", ["mean", "spread"])
@pytest.mark.parametrize("back", [110, 250, 450])
def test_finds_the_start_of_a_clear_change(kind: str, back: int) -> None:
    found = errors(kind, 0.8, back)
    assert np.abs(np.median(found)) <= 5
    assert found.min() >= -10
    assert found.max() <= 40


def test_errs_late_on_a_weak_change() -> None:
    found = errors("mean", 0.35, 300)
    assert found.min() >= -25
    assert np.median(found) >= 0


def test_without_a_change_hardly_anything_counts_as_changed() -> None:
    random = np.random.default_rng(1)
    start = change_start(random.normal(size=(800, D)), random.normal(size=(N, D)))
    assert N // 2 < start <= N - 1


def test_constant_features_and_short_histories_do_no_harm() -> None:
    random = np.random.default_rng(2)
    before = np.column_stack([random.normal(size=100), np.zeros(100)])
    samples = np.column_stack([random.normal(2, 1, size=30), np.zeros(30)])
    assert 0 <= change_start(before, samples) < 30
