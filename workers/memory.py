"""Exemplar memory: a herded core and the examples with the smallest keyed hashes, evenly over (domain, label) groups.

`choose` orders the examples of each group by their place in the herded core and then by a hash of their key, and takes
ranks round robin: every group's first, every group's second, ... until the budget is full. The result depends on the
set of examples only: not on their order, not on repeats. It is mergeable: choose(choose(A) + choose(B)) ==
choose(A + B), because an example's place in a larger set is never better. Beyond the core a group is a bottom-k sample,
so every example is equally likely.

The core is chosen once, from all that a domain brings when it enters (`with_core`); its order is one of priority, so
that a smaller memory keeps the first of it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.bundle import ModelBundle
from trimtab.ledger.examples import Example

CORE = 20  # exemplars a domain and class: beyond that a random sample serves as well and has no bias
_NO_CORE = 2**31

Doubles = npt.NDArray[np.float64]
Encode = Callable[[Sequence[str]], npt.NDArray[np.floating[Any]]]


def priority_of(key: str, salt: str) -> int:
    """A number in [0, 2**63) that depends on key and salt only, uniform over keys; the memory keeps the smallest."""
    digest = hmac.digest(salt.encode(), key.encode(), hashlib.sha256)
    return int.from_bytes(digest[:8], "big") >> 1


def choose(examples: Iterable[Example], budget: int) -> list[Example]:
    """At most `budget` of the examples that are not retired, by (rank within the group, place, priority).

    Of several examples with one key the newest counts (largest version, then smallest domain and label).
    """
    groups: dict[tuple[str, str], list[Example]] = {}
    for example in _distinct(examples):
        if example.retired_by is None:
            groups.setdefault((example.domain, example.label or ""), []).append(example)
    ranked = [
        (rank, _place(example), example)
        for group in groups.values()
        for rank, example in enumerate(sorted(group, key=_place))
    ]
    # Within a rank, too, by the order of the groups: else a place could get better in a larger set.
    ranked.sort(key=lambda entry: entry[:2])
    return [example for *_, example in ranked[:budget]]


def with_core(examples: Iterable[Example], encode: Encode, size: int = CORE) -> list[Example]:
    """The distinct examples by key, those in the herded core of their domain and label with their place in it.

    Args:
        examples: All that a domain brings; which of them a memory keeps is decided afterwards.
        encode: (n, h) features of n texts by the frozen base: they stay what they are from version to version.
        size: Of the core, a domain and label.
    """
    found = sorted(_distinct(examples), key=lambda example: example.key)
    if not found:
        return []
    features = np.asarray(encode([example.text for example in found]), dtype=np.float64)
    groups: dict[tuple[str, str], list[int]] = {}
    for i, example in enumerate(found):
        groups.setdefault((example.domain, example.label or ""), []).append(i)
    core = {
        group[i]: place for group in groups.values() for place, i in enumerate(herd(features[group], size))
    }
    return [replace(example, core=core.get(i)) for i, example in enumerate(found)]


def herd(features: Doubles, size: int) -> list[int]:
    """Indices of at most `size` of (n, h) rows, in the order in which herding takes them.

    iCaRL (Rebuffi et al. 2017, arXiv 1611.07725, algorithm 4): phi are the rows scaled to length 1, mu is their mean,
    p_k = argmin over x not taken of || mu - (phi(x) + sum over j < k of phi(p_j)) / k ||. Taking the rows nearest to
    the mean is another algorithm: those are alike. Of equally near rows the first.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    phi = features / np.where(lengths > 0, lengths, 1.0)
    mean, total = phi.mean(axis=0), np.zeros(phi.shape[1])
    taken: list[int] = []
    free = np.ones(len(phi), dtype=bool)
    for k in range(1, min(size, len(phi)) + 1):
        # || k mu - total - phi ||^2 without what is the same for every row.
        distance = np.square(phi).sum(axis=1) - 2.0 * phi @ (k * mean - total)
        nearest = int(np.argmin(np.where(free, distance, np.inf)))
        taken.append(nearest)
        free[nearest] = False
        total += phi[nearest]
    return taken


def frozen_features(bundle: ModelBundle) -> Encode:
    """What `with_core` encodes by: the pooled states of the pristine encoder under the bundle's adapter."""
    pristine = replace(bundle, encoder=bundle.base.runner.encoder)
    return lambda texts: pristine.predict(texts).pooled


def _place(example: Example) -> tuple[int, int, str]:
    return _NO_CORE if example.core is None else example.core, example.priority, example.key


def _distinct(examples: Iterable[Example]) -> list[Example]:
    kept: dict[str, Example] = {}
    for example in examples:
        other = kept.get(example.key)
        if other is None or _order(example) < _order(other):
            kept[example.key] = example
    return list(kept.values())


def _order(example: Example) -> tuple[Any, ...]:
    """Of several examples with one key the smallest counts; the last member makes the order total."""
    return -example.version, example.domain, example.label or "", *_place(example), repr(astuple(example))
