"""Which rows make a step: a function of lengths, groups and seed, so that a fit can go on in the middle."""

from __future__ import annotations

import itertools
import random
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

# Batches whose texts are sorted by length together: enough for passes of similar texts, few enough to stay random.
BATCHES_PER_POOL = 16


@dataclass(frozen=True)
class Batch:
    """Indices of one step: new rows, replay rows for the logits term, replay rows for the label term."""

    new: tuple[int, ...]
    dark: tuple[int, ...] = ()
    labelled: tuple[int, ...] = ()


@dataclass(frozen=True)
class ReplayRows:
    """Rows to draw from: their lengths in tokens, and the indices of every group (a domain's class)."""

    lengths: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]


def replay_rows(lengths: Sequence[int], groups: Sequence[Hashable]) -> ReplayRows:
    """Rows with the group of each. Raises ValueError when their numbers differ."""
    members: dict[Hashable, list[int]] = {}
    for i, (_, group) in enumerate(zip(lengths, groups, strict=True)):
        members.setdefault(group, []).append(i)
    return ReplayRows(tuple(lengths), tuple(tuple(rows) for rows in members.values()))


def steps_per_epoch(n: int, batch: int) -> int:
    """Steps that see each of n new rows once."""
    return -(-n // batch)


def endless_batches(new: Sequence[int], replay: ReplayRows | None, batch: int, seed: int) -> Iterator[Batch]:
    """Epoch after epoch in random pools, each sorted by length and cut into batches, which come in random order.

    Replay rows are drawn for a whole pool and sorted too, so that a step's texts are of similar length: half a batch
    for each of the two replay terms, drawn independently, every group equally likely and every row of it.

    Args:
        new: (n,) lengths of the new rows, at least one.
    """
    rng = random.Random(seed)
    for _ in itertools.count():
        order = rng.sample(range(len(new)), len(new))
        for start in range(0, len(order), batch * BATCHES_PER_POOL):
            pool = sorted(order[start : start + batch * BATCHES_PER_POOL], key=lambda i: new[i])
            cuts = [tuple(pool[i : i + batch]) for i in range(0, len(pool), batch)]
            n_replay = len(cuts) * max(batch // 2, 1) if replay else 0
            dark, labelled = (_draw(rng, replay, n_replay) for _ in range(2))
            yield from rng.sample(_paired(cuts, dark, labelled), len(cuts))


def _draw(rng: random.Random, replay: ReplayRows | None, n: int) -> list[int]:
    if replay is None:
        return []
    return sorted((rng.choice(rng.choice(replay.groups)) for _ in range(n)), key=lambda i: replay.lengths[i])


def _paired(cuts: Sequence[tuple[int, ...]], dark: Sequence[int], labelled: Sequence[int]) -> list[Batch]:
    share = len(dark) // len(cuts)
    spans = [slice(i * share, (i + 1) * share) for i in range(len(cuts))]
    return [Batch(cut, tuple(dark[s]), tuple(labelled[s])) for cut, s in zip(cuts, spans, strict=True)]
