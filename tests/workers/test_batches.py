from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.batches import Batch, ReplayRows, endless_batches, replay_rows, steps_per_epoch

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=100)


def taken(
    new: list[int], replay: ReplayRows | None, *, seed: int = 1, batch: int = 8, epochs: int = 1
) -> list[Batch]:
    steps = epochs * steps_per_epoch(len(new), batch)
    return list(islice(endless_batches(new, replay, batch, seed), steps))


def one_group(lengths: list[int]) -> ReplayRows:
    return replay_rows(lengths, [0] * len(lengths))


@given(LENGTHS, st.integers(0, 5), st.integers(1, 3))
def test_every_row_is_seen_once_an_epoch(lengths: list[int], seed: int, epochs: int) -> None:
    found = taken(lengths, None, seed=seed, epochs=epochs)
    assert Counter(i for batch in found for i in batch.new) == dict.fromkeys(range(len(lengths)), epochs)
    assert len(found) == epochs * -(-len(lengths) // 8)
    assert all(not batch.dark and not batch.labelled for batch in found)


@given(st.integers(1, 100), st.integers(1, 30), st.integers(0, 5))
def test_every_step_replays_half_a_batch_for_each_term(n: int, n_replay: int, seed: int) -> None:
    for batch in taken([5] * n, one_group([7] * n_replay), seed=seed, epochs=2):
        assert len(batch.dark) == len(batch.labelled) == 4
        assert all(0 <= i < n_replay for i in (*batch.dark, *batch.labelled))


@given(LENGTHS, st.integers(0, 5), st.integers(0, 20))
def test_the_rest_does_not_depend_on_where_one_goes_on(lengths: list[int], seed: int, step: int) -> None:
    replay = one_group([3, 9, 4])
    whole = list(islice(endless_batches(lengths, replay, 4, seed), 30))
    assert list(islice(endless_batches(lengths, replay, 4, seed), step, 30)) == whole[step:]


def test_batches_hold_texts_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(3, 80, size=800).tolist()
    found = taken(lengths, None, batch=16)
    padded = sum(max(lengths[i] for i in batch.new) * len(batch.new) for batch in found)
    assert padded < 1.15 * sum(lengths)


def test_batches_come_in_random_order() -> None:
    found = [batch.new for batch in taken(list(range(1, 129)), None)]
    assert found != sorted(found)


def test_the_two_replay_draws_are_independent() -> None:
    found = taken([5] * 400, one_group(list(range(1, 201))))
    dark = [i for batch in found for i in batch.dark]
    labelled = [i for batch in found for i in batch.labelled]
    assert dark != labelled
    assert len(set(dark)) > 80


def test_every_class_of_every_domain_is_replayed_alike() -> None:
    """900, 90 and 10 rows: 4,000 draws of each term, a third of them each, within four standard errors."""
    groups = ["a"] * 900 + ["b"] * 90 + ["c"] * 10
    found = taken([5] * 8000, replay_rows([5] * 1000, groups))
    for draws in ([b.dark for b in found], [b.labelled for b in found]):
        counts = Counter(groups[i] for rows in draws for i in rows)
        n = sum(counts.values())
        assert n == 4000
        assert all(abs(count / n - 1 / 3) < 4 * (2 / 9 / n) ** 0.5 for count in counts.values())
    rare = Counter(i for b in found for i in b.dark if groups[i] == "c")
    assert len(rare) == 10


def test_a_group_for_every_row() -> None:
    with pytest.raises(ValueError, match="zip"):
        replay_rows([1, 2], ["a"])


def test_a_batch_without_replay_is_empty_there() -> None:
    assert Batch((1, 2)) == Batch((1, 2), (), ())
