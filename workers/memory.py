"""Exemplar memory: the examples with the smallest keyed hashes, evenly over (domain, label) groups.

`choose` orders the examples of each group by a hash of their key and then takes ranks round robin: every group's
first, every group's second, ... until the budget is full. The result depends on the set of examples only: not on
their order, not on repeats. It is mergeable: choose(choose(A) + choose(B)) == choose(A + B), because an example's
place in a larger set is never better. Within a group it is a bottom-k sample, so every example is equally likely.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from trimtab.ledger.examples import Example


def priority_of(key: str, salt: str) -> int:
    """A number in [0, 2**63) that depends on key and salt only, uniform over keys; the memory keeps the smallest."""
    digest = hmac.digest(salt.encode(), key.encode(), hashlib.sha256)
    return int.from_bytes(digest[:8], "big") >> 1


def choose(examples: Iterable[Example], budget: int) -> list[Example]:
    """At most `budget` of the examples, by (rank within the group, priority).

    Of several examples with one key the newest counts (largest version, then smallest domain and label).
    """
    groups: dict[tuple[str, str], list[Example]] = {}
    for example in _distinct(examples):
        groups.setdefault((example.domain, example.label or ""), []).append(example)
    ranked = [
        (rank, example.priority, example.key, example)
        for group in groups.values()
        for rank, example in enumerate(sorted(group, key=lambda each: (each.priority, each.key)))
    ]
    ranked.sort(key=lambda entry: entry[:3])
    return [example for *_, example in ranked[:budget]]


def _distinct(examples: Iterable[Example]) -> list[Example]:
    kept: dict[str, Example] = {}
    for example in examples:
        other = kept.get(example.key)
        if other is None or _wins(example, other):
            kept[example.key] = example
    return list(kept.values())


def _wins(one: Example, other: Example) -> bool:
    if one.version != other.version:
        return one.version > other.version
    return (one.domain, one.label or "") < (other.domain, other.label or "")
