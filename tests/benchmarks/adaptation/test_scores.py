"""Figures of continual learning against their definitions written out."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.adaptation.data import Texts
from benchmarks.adaptation.scores import (
    at_last,
    average,
    backward_transfer,
    draw,
    drawn_counts,
    figure,
    flips,
    forgetting,
    forward_transfer,
    learning_accuracy,
    matrix,
    over_seeds,
    summed_gain,
)

# Rows: source, + a, + b; columns: source, a, b.
R = np.array([[0.80, 0.70, 0.60], [0.78, 0.90, 0.65], [0.75, 0.85, 0.88]])


def test_figures_of_a_small_matrix() -> None:
    assert average(R) == pytest.approx((0.75 + 0.85 + 0.88) / 3)
    assert forgetting(R) == pytest.approx([0.05, 0.05])
    assert backward_transfer(R) == pytest.approx(((0.75 - 0.80) + (0.85 - 0.90)) / 2)
    assert forward_transfer(R) == pytest.approx(((0.70 - 0.5) + (0.65 - 0.5)) / 2)
    assert learning_accuracy(R) == pytest.approx((0.90 + 0.88) / 2)
    assert summed_gain(R) == pytest.approx((0.85 - 0.70) + (0.88 - 0.60))
    assert at_last(1)(R) == pytest.approx(0.85)


def test_forgetting_is_from_the_best_version_not_from_the_domains_own() -> None:
    """Chaudhry's: a domain that got better after its own step is forgotten from there."""
    found = R.copy()
    found[1, 0] = 0.84
    assert forgetting(found)[0] == pytest.approx(0.84 - 0.75)
    assert backward_transfer(found) == pytest.approx(backward_transfer(R))


def test_figures_take_draws_in_front() -> None:
    stacked = np.stack([R, R + 0.01])
    for of in (average, backward_transfer, forward_transfer, learning_accuracy, summed_gain, forgetting):
        assert np.asarray(of(stacked))[0] == pytest.approx(np.asarray(of(R)))


def texts(n: int, per_group: int, seed: int) -> Texts:
    rng = np.random.default_rng(seed)
    groups = tuple(f"g{i // per_group}" for i in range(n))
    return Texts(tuple(map(str, range(n))), rng.integers(2, size=n), groups)


def test_the_first_draw_is_the_test_set_itself() -> None:
    tests = {"a": texts(60, 1, 0), "b": texts(50, 5, 1)}
    rng = np.random.default_rng(2)
    rows = [{name: rng.random(len(each)) < 0.7 for name, each in tests.items()} for _ in range(3)]
    found = matrix(draw(tests, 0, 20), rows, ("b", "a"))
    assert found.shape == (21, 3, 2)
    right, labels = rows[1]["a"], tests["a"].labels
    assert found[0, 1, 1] == pytest.approx((right[labels == 0].mean() + right[labels == 1].mean()) / 2)


def test_texts_of_a_group_are_drawn_together() -> None:
    counts = drawn_counts(texts(40, 4, 0).groups, [0], 30)
    assert np.all(counts[0] == 1)
    by_group = counts[1:].reshape(30, 10, 4)
    assert np.all(by_group == by_group[:, :, :1])
    assert np.all(by_group[:, :, 0].sum(axis=1) == 10)


def test_the_spread_of_draws_is_that_of_a_share() -> None:
    """n independent texts: the standard deviation of the accuracy is sqrt(p (1 - p) / n), within 15 % by 1,000 draws
    (their own standard error is 1 / sqrt(2,000))."""
    n, p = 400, 0.8
    tests = {"a": Texts(tuple(map(str, range(n))), np.zeros(n, dtype=np.int64), tuple(map(str, range(n))))}
    right = np.arange(n) < p * n
    found = matrix(draw(tests, 0), [{"a": right}], ("a",))[1:, 0, 0]
    assert found.std() == pytest.approx(np.sqrt(p * (1 - p) / n), rel=0.15)


def test_negative_flips_count_what_was_right_before() -> None:
    tests = {"s": texts(4, 1, 0), "a": texts(4, 1, 1)}
    rows = [
        {"s": np.array([1, 1, 0, 0], bool), "a": np.array([0, 0, 0, 0], bool)},
        {"s": np.array([0, 1, 1, 1], bool), "a": np.array([1, 1, 1, 1], bool)},
        {"s": np.array([0, 0, 1, 1], bool), "a": np.array([1, 1, 0, 0], bool)},
    ]
    # update 1: s loses 1 of 4; update 2: s loses 1 of 4, a loses 2 of 4
    assert flips(draw(tests, 0, 5), rows, ("s", "a", "b"))[0] == pytest.approx((0.25 + 0.25 + 0.5) / 3)


def test_seeds_are_averaged_and_drawn() -> None:
    per_seed = [np.full(201, value) for value in (0.1, 0.2, 0.6)]
    found = over_seeds(per_seed)
    assert found[0] == pytest.approx(0.3)
    possible = {round((a + b + c) / 3, 6) for a in (1, 2, 6) for b in (1, 2, 6) for c in (1, 2, 6)}
    assert {round(10 * value, 6) for value in found[1:].tolist()} <= possible
    assert len(set(found.tolist())) > 5


def test_a_seed_that_is_drawn_twice_gives_two_draws() -> None:
    """With one seed the mean over "seeds" is that seed's own draw; with two copies it varies less."""
    values = np.concatenate([[0.0], np.random.default_rng(0).normal(size=1000)])
    one, two = over_seeds([values]), over_seeds([values, values])
    assert np.allclose(np.sort(one[1:]), np.sort(values[1:]))
    assert two[1:].std() < 0.85 * one[1:].std()


def test_two_methods_share_their_draws() -> None:
    """Else the interval of a difference would not be one of pairs."""
    values = [np.concatenate([[0.5], np.random.default_rng(i).normal(size=500)]) for i in range(3)]
    difference = over_seeds([each + 0.01 for each in values]) - over_seeds(values)
    assert np.allclose(difference, 0.01)


def test_a_figure_is_told_in_points() -> None:
    values = np.concatenate([[0.5], np.linspace(0.4, 0.6, 1001)])
    found = figure(values)
    assert found.text() == "50.0 [40.5, 59.5]"
    assert found.text(0) == "50 [40, 60]"
