from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from trimtab.ledger.examples import Example
from workers.memory import choose, priority_of


def example(number: int, domain: str = "d0", label: str = "a", version: int = 1) -> Example:
    key = f"key{number}"
    return Example(
        model="m", domain=domain, role="memory", text=key, key=key, label=label, version=version,
        priority=priority_of(key, "m"),
    )  # fmt: skip


def grouped(number: int) -> Example:
    """An example whose group depends on its number, with groups of very different sizes."""
    return example(number, f"d{number % 3 == 0}", "a" if number % 5 else "b")


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
def test_within_a_group_the_smallest_priorities_are_kept(found: list[Example], budget: int) -> None:
    kept = choose(found, budget)
    for each in {other.key: other for other in found}.values():
        if each not in kept:
            group = [k for k in kept if (k.domain, k.label) == (each.domain, each.label)]
            assert all(k.priority <= each.priority for k in group)


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
