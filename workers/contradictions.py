"""Concept drift: which exemplars say what is no longer true. Replaying them would fight what is to be learnt.

An exemplar is contradicted when most of its five nearest new labelled texts, by the angle between frozen states, have
another label, and the nearest is no farther than new texts usually are from each other: beyond that the new labels say
nothing about it. A past domain is retired as a whole when contradictions are the rule there, beyond the share that the
new labels show among themselves: then it is neither replayed nor is forgetting it a fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.features import Floats

Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEIGHBOURS = 5
RULE = 0.5  # share of a domain's comparable exemplars from which contradiction is the rule
SURE = 3.0  # standard errors above the share that label noise explains
FEWEST = 20  # comparable exemplars, to speak of a domain


@dataclass(frozen=True)
class Contradicted:
    """(n,) which exemplars are contradicted, (n,) which are near enough to say so, and the domains that are retired."""

    exemplars: Bools
    comparable: Bools
    retired: frozenset[str]


def find_contradicted(
    old: Floats, old_labels: Integers, domains: tuple[str, ...], new: Floats, new_labels: Integers
) -> Contradicted:
    """Which of n exemplars the m new labels contradict.

    Args:
        old, old_labels, domains: (n, h) states, (n,) labels and n domains of the exemplars.
        new, new_labels: (m, h) states and (m,) labels of new texts; fewer than 6 contradict nothing.
    """
    nothing = np.zeros(len(old), dtype=bool)
    if len(new) <= NEIGHBOURS or not len(old):
        return Contradicted(nothing, nothing, frozenset())
    among = _unit(new) @ _unit(new).T
    np.fill_diagonal(among, -np.inf)
    usual = float(np.median(among.max(axis=1)))
    noise = float(_outvoted(among, new_labels, new_labels).mean())
    near = _unit(old) @ _unit(new).T
    comparable = near.max(axis=1) >= usual
    contradicted = _outvoted(near, old_labels, new_labels) & comparable
    named = np.array(domains)
    retired = {
        domain for domain in set(domains) if _is_rule(contradicted[comparable & (named == domain)], noise)
    }
    return Contradicted(contradicted, comparable, frozenset(retired))


def _outvoted(similarity: Floats, labels: Integers, voters: Integers) -> Bools:
    """(n,) whether most of the five most similar of m voters have another label; (n, m) similarity."""
    nearest = np.argpartition(-similarity, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    other = voters[nearest] != labels[:, None]
    return np.asarray(other.sum(axis=1) > NEIGHBOURS / 2)


def _is_rule(contradicted: Bools, noise: float) -> bool:
    n = len(contradicted)
    if n < FEWEST:
        return False
    share, error = float(contradicted.mean()), float(np.sqrt(max(noise * (1 - noise), 1 / n) / n))
    return share > RULE and share > noise + SURE * error


def _unit(states: Floats) -> Floats:
    lengths = np.linalg.norm(states, axis=1, keepdims=True)
    return np.asarray(states / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)
