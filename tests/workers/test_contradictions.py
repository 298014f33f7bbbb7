"""Which exemplars new labels contradict: only near ones, only by most of their neighbours; domains by the rule."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.features import Floats
from workers.contradictions import FEWEST, NEIGHBOURS, Contradicted, Integers, find_contradicted

H = 16


def cloud(centre: int, n: int, seed: int, spread: float = 0.05) -> Floats:
    """n states around one of H directions."""
    noise = np.random.default_rng(seed).normal(0.0, spread, (n, H))
    return np.asarray(np.eye(H)[centre] + noise, dtype=np.float32)


def labels(n: int, value: int) -> Integers:
    return np.full(n, value, dtype=np.int64)


def find(
    old: Floats, old_labels: Integers, new: Floats, new_labels: Integers, domain: str = "d"
) -> Contradicted:
    return find_contradicted(old, old_labels, (domain,) * len(old), new, new_labels)


def test_where_the_new_labels_say_the_opposite_the_exemplars_are_contradicted() -> None:
    new, new_labels = np.vstack([cloud(0, 60, 1), cloud(1, 60, 2)]), np.repeat([0, 1], 60)
    old, old_labels = np.vstack([cloud(0, 60, 3), cloud(1, 60, 4)]), np.repeat([1, 1], 60)
    found = find(old, old_labels, new, new_labels)
    assert found.exemplars[:60].sum() > 15
    assert not found.exemplars[60:].any()
    assert (found.exemplars <= found.comparable).all()


def test_where_they_agree_nothing_is() -> None:
    new, new_labels = np.vstack([cloud(0, 60, 1), cloud(1, 60, 2)]), np.repeat([0, 1], 60)
    old = np.vstack([cloud(0, 60, 3), cloud(1, 60, 4)])
    found = find(old, new_labels, new, new_labels)
    assert not found.exemplars.any()
    assert found.comparable.sum() > 40
    assert not found.retired


def test_exemplars_far_from_every_new_text_are_left_alone() -> None:
    found = find(cloud(5, 80, 3), labels(80, 1), cloud(0, 80, 1), labels(80, 0))
    assert not found.comparable.any()
    assert not found.exemplars.any()


def test_a_domain_is_retired_when_contradiction_is_the_rule() -> None:
    new, new_labels = cloud(0, 100, 1), labels(100, 0)
    old = np.vstack([cloud(0, 100, 3), cloud(0, 100, 4)])
    domains = ("turned",) * 100 + ("as before",) * 100
    found = find_contradicted(old, np.repeat([1, 0], 100), domains, new, new_labels)
    assert found.retired == {"turned"}


def test_label_noise_retires_no_domain() -> None:
    """Half of the labels are random, old and new: about as many contradictions as the new labels have themselves."""
    rng = np.random.default_rng(5)
    new, old = cloud(0, 300, 1), cloud(0, 300, 2)
    found = find(old, rng.integers(0, 2, 300), new, rng.integers(0, 2, 300))
    assert found.comparable.sum() > FEWEST
    assert not found.retired


def test_few_comparable_exemplars_retire_no_domain() -> None:
    found = find(cloud(0, FEWEST - 1, 3), labels(FEWEST - 1, 1), cloud(0, 60, 1), labels(60, 0))
    assert found.exemplars.any()
    assert not found.retired


@pytest.mark.parametrize("n_new", [0, 1, NEIGHBOURS])
def test_too_few_new_labels_contradict_nothing(n_new: int) -> None:
    found = find(cloud(0, 10, 3), labels(10, 1), cloud(0, n_new, 1), labels(n_new, 0))
    assert not found.exemplars.any()
    assert found.exemplars.shape == (10,)


def test_without_exemplars_nothing_is_contradicted() -> None:
    found = find(np.empty((0, H), np.float32), labels(0, 0), cloud(0, 10, 1), labels(10, 0))
    assert found.exemplars.shape == (0,)


@given(st.permutations(range(40)), st.floats(0.1, 10.0))
def test_neither_order_nor_length_of_the_states_matters(order: list[int], scale: float) -> None:
    old, new = cloud(0, 40, 3), cloud(0, 40, 1)
    old_labels: npt.NDArray[np.int64] = np.arange(40) % 2
    new_labels = labels(40, 0)
    one = find(old, old_labels, new, new_labels)
    other = find(scale * old[order], old_labels[order], new[order], new_labels)
    assert (one.exemplars[order] == other.exemplars).all()
