from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.fixtures.workshops import MODEL, ToyShop
from trimtab.base import load_base
from trimtab.jobs import AdaptationJob
from trimtab.ledger.examples import Example, list_examples
from workers.memory import CORE, Doubles, choose, frozen_features, herd, priority_of, with_core
from workers.workshop import load_version


def example(number: int, domain: str = "d0", label: str = "a", version: int = 1) -> Example:
    key = f"key{number}"
    return Example(
        model="m", domain=domain, role="memory", text=key, key=key, label=label, version=version,
        priority=priority_of(key, "m"),
    )  # fmt: skip


def grouped(number: int) -> Example:
    """An example whose group depends on its number, with groups of very different sizes; every seventh is in a core."""
    made = example(number, f"d{number % 3 == 0}", "a" if number % 5 else "b")
    return replace(made, core=number // 7 if number % 7 == 0 else None)


def place(each: Example) -> tuple[float, int]:
    return (np.inf if each.core is None else each.core), each.priority


examples = st.lists(st.integers(0, 80).map(grouped), max_size=60)
budgets = st.integers(0, 40)


@given(examples, budgets, st.randoms())
def test_neither_order_nor_repeats_matter(found: list[Example], budget: int, rng: random.Random) -> None:
    shuffled = found + found[:5]
    rng.shuffle(shuffled)
    assert choose(shuffled, budget) == choose(found, budget)


@given(examples, examples, budgets)
def test_two_memories_merge_into_the_memory_of_all(a: list[Example], b: list[Example], budget: int) -> None:
    assert choose(choose(a, budget) + choose(b, budget), budget) == choose(a + b, budget)


@given(examples, budgets)
def test_the_budget_is_used_up_and_shared_evenly(found: list[Example], budget: int) -> None:
    kept = choose(found, budget)
    distinct = {each.key: each for each in found}
    assert len(kept) == min(budget, len(distinct))
    sizes = Counter((each.domain, each.label) for each in kept)
    available = Counter((each.domain, each.label) for each in distinct.values())
    for group, size in available.items():
        # A group may have less than another one only when it is kept whole, or by the one of the last round.
        if sizes[group] < size:
            assert all(sizes[group] >= other - 1 for other in sizes.values())


@given(examples, budgets)
def test_within_a_group_the_core_and_then_the_smallest_priorities_are_kept(
    found: list[Example], budget: int
) -> None:
    kept = choose(found, budget)
    for each in {other.key: other for other in found}.values():
        if each not in kept:
            group = [k for k in kept if (k.domain, k.label) == (each.domain, each.label)]
            assert all(place(k) <= place(each) for k in group)


@given(st.lists(st.lists(st.integers(0, 80).map(grouped), max_size=30), max_size=6), budgets, st.randoms())
def test_any_split_over_workers_ends_in_the_same_memory(
    parts: list[list[Example]], budget: int, rng: random.Random
) -> None:
    """Workers choose from what they got, some of it twice, and are merged in any order and grouping."""
    whole = [each for part in parts for each in part]
    chosen = [choose(part, budget) for part in parts + parts[:1]]
    while len(chosen) > 1:
        one, other = (chosen.pop(rng.randrange(len(chosen))) for _ in range(2))
        chosen.append(choose(one + other, budget))
    assert (chosen[0] if chosen else []) == choose(whole, budget)


@given(examples, st.sets(st.integers(0, 80)), budgets)
def test_deletion_is_as_if_they_had_not_been_chosen_from(
    found: list[Example], deleted: set[int], budget: int
) -> None:
    """What is left of a memory is what the memory of the rest keeps of it, and nothing that was deleted."""
    gone = {f"key{number}" for number in deleted}
    left = [each for each in choose(found, budget) if each.key not in gone]
    rest = [each for each in found if each.key not in gone]
    assert {each.key for each in choose(left, budget)} == {each.key for each in left}
    assert {each.key for each in left} <= {each.key for each in choose(rest, budget)}


@given(examples, st.sets(st.integers(0, 80)))
def test_what_is_retired_takes_no_place(found: list[Example], retired: set[int]) -> None:
    keys = {f"key{number}" for number in retired}
    marked = [replace(each, retired_by=2) if each.key in keys else each for each in found]
    assert choose(marked, 10) == choose([each for each in found if each.key not in keys], 10)


@given(examples, st.randoms())
def test_of_examples_with_one_key_the_same_counts_in_any_order(
    found: list[Example], rng: random.Random
) -> None:
    variants = [
        replace(
            each, version=rng.randrange(3), text=f"text {rng.randrange(3)}", core=rng.choice([None, 1, 2])
        )
        for each in found + found
    ]
    shuffled = variants[:]
    rng.shuffle(shuffled)
    assert choose(shuffled, 15) == choose(variants, 15)


def test_of_one_key_the_newest_counts() -> None:
    old, new = example(1, version=1), replace(example(1, domain="other"), version=2)
    assert choose([old, new], 5) == choose([new, old], 5) == [new]
    assert choose([example(1, "b"), example(1, "a")], 5) == [example(1, "a")]


def test_priorities_are_uniform_and_depend_on_the_salt() -> None:
    priorities = [priority_of(f"key{i}", "salt") for i in range(4000)]
    assert all(0 <= p < 2**63 for p in priorities)
    counts = Counter(p * 16 // 2**63 for p in priorities)
    assert chisquare([counts[i] for i in range(16)]).pvalue > 1e-4
    assert priority_of("key1", "salt") != priority_of("key1", "pepper")


def test_every_example_is_equally_likely_whenever_it_came() -> None:
    """Reservoir property: over many salts, early and late numbers are kept equally often."""
    kept: Counter[int] = Counter()
    for salt in range(150):
        keys = {priority_of(f"key{i}", str(salt)): i for i in range(50)}
        found = [replace(example(i), priority=p) for p, i in keys.items()]
        kept.update(int(each.key[3:]) for each in choose(found, 10))
    assert chisquare([kept[i] for i in range(50)]).pvalue > 1e-4


def features_of(texts: Sequence[str]) -> Doubles:
    """Rows that depend on the text only."""
    rows = [np.random.default_rng(int(text[3:])).normal(size=6) + 0.5 for text in texts]
    return np.array(rows).reshape(len(texts), 6)


def herd_by_brute_force(features: Doubles, size: int) -> list[int]:
    """Algorithm 4 of iCaRL, read aloud."""
    phi = [row / np.linalg.norm(row) for row in features]
    mean = sum(phi) / len(phi)
    taken: list[int] = []
    for k in range(1, min(size, len(phi)) + 1):
        before = sum((phi[j] for j in taken), np.zeros_like(phi[0]))
        gaps = {
            i: float(np.linalg.norm(mean - (row + before) / k)) for i, row in enumerate(phi) if i not in taken
        }
        taken.append(min(gaps, key=lambda i: gaps[i]))
    return taken


@pytest.mark.parametrize("seed", range(20))
def test_herding_is_the_papers_algorithm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rng.integers(1, 60), rng.integers(2, 20))) * rng.uniform(0.1, 10)
    size = int(rng.integers(0, 30))
    assert herd(features, size) == herd_by_brute_force(features, size)


def test_herding_follows_every_mode_and_nearest_to_the_mean_would_not() -> None:
    """Two modes of one class, at right angles, one three times as large: herding takes of both, in their shares."""
    rng = np.random.default_rng(0)
    modes = np.repeat([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [60, 20], axis=0)
    features = modes + 0.05 * rng.normal(size=modes.shape)
    taken = herd(features, 8)
    assert sum(i >= 60 for i in taken) == 2
    nearest = np.argsort(np.linalg.norm(features - features.mean(axis=0), axis=1))[:8]
    assert sum(i >= 60 for i in nearest) == 0


def test_the_order_is_a_priority_and_an_empty_row_is_no_error() -> None:
    features = features_of([f"key{i}" for i in range(30)])
    assert herd(features, 12)[:5] == herd(features, 5)
    assert sorted(herd(np.vstack([features, np.zeros(6)]), 99)) == list(range(31))


@given(st.lists(st.integers(0, 80).map(grouped), max_size=60), st.randoms())
def test_the_core_depends_on_the_set_only(found: list[Example], rng: random.Random) -> None:
    shuffled = found + found[:5]
    rng.shuffle(shuffled)
    core = with_core(found, features_of, 3)
    assert core == with_core(shuffled, features_of, 3)
    assert with_core([], features_of) == []
    groups = Counter((each.domain, each.label) for each in core)
    places = Counter((each.domain, each.label) for each in core if each.core is not None)
    assert places == {group: min(n, 3) for group, n in groups.items()}


def test_a_small_memory_is_the_core_and_a_large_one_mostly_random() -> None:
    found = with_core([example(i) for i in range(200)], features_of)
    assert [each.core for each in choose(found, 5)] == list(range(5))
    kept = choose(found, 100)
    assert sum(each.core is not None for each in kept) == CORE
    random_part = sorted(each.priority for each in found if each.core is None)[: 100 - CORE]
    assert sorted(each.priority for each in kept if each.core is None) == random_part


def test_the_core_is_chosen_by_what_no_version_changes(adapted: tuple[ToyShop, AdaptationJob]) -> None:
    """Two versions of one base see the same features, in any company; their own states differ."""
    toy, _ = adapted
    base = load_base(str(toy.base_dir), "cpu")
    one, two = (load_version(toy.shop, base, MODEL, n).bundle for n in (1, 2))
    texts = ["good film", "bad plot indeed", "the shop was cheap"]
    features = frozen_features(one)(texts)
    assert features.shape == (3, base.hidden_size)
    assert np.array_equal(features, frozen_features(two)(texts))
    assert np.abs(one.predict(texts).pooled - two.predict(texts).pooled).max() > 1e-3
    alone = np.vstack([frozen_features(one)([text]) for text in texts])
    assert np.abs(features - alone).max() < 1e-5


def test_every_version_brings_a_core_and_where_its_exemplars_came_from(
    adapted: tuple[ToyShop, AdaptationJob],
) -> None:
    toy, _ = adapted
    with toy.ledger.read() as tx:
        memory = list_examples(tx, MODEL, "memory")
    groups: dict[tuple[str, str | None], list[Example]] = {}
    for each in memory:
        groups.setdefault((each.domain, each.label), []).append(each)
    assert {domain for domain, _ in groups} == {"film", "shop"}
    for (domain, _), group in groups.items():
        assert {each.core for each in group if each.core is not None} == set(range(CORE))
        assert {each.label_source for each in group} == {"init" if domain == "film" else "feedback"}
        assert {each.client for each in group} == {None if domain == "film" else "tests"}
        assert all((each.prediction_id is None) == (domain == "film") for each in group)
