"""The demo's row budget: which rows may be used for what. Written down once, asserted at every run.

| domain | init (train <= 1,500, selection, gate >= 1,500, reference) | stream | test, never sent as traffic |
|---|---|---|---|
| movie | 6,000 | the rest, at least 3,000: 2,000 before the change, the others after it | >= 600 |
| tweets, amazon, nyt | none: labels come as delayed feedback of the stream | the rest | >= 600 |

Rows are dealt by the salted hash of their group (a review, an article), else of their text, so a group never
crosses; the seed is the salt, so three seeds are three splits. The stream is sent in the same hashed order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from trimtab.datafiles import Row
from trimtab.splits import key_of

SOURCE = "movie"
N_INIT = 6_000
N_TEST = 600
N_STREAM_SOURCE = 3_000  # 2,000 before the change and 1,000 after it
N_STREAM_TARGET = 2_000  # detection (<= 1,000) and enough labels after it
MAX_TRAIN = 1_500


@dataclass(frozen=True)
class DomainRows:
    """The rows of one domain by use; the three never share a group or a text."""

    init: tuple[Row, ...]
    stream: tuple[Row, ...]
    test: tuple[Row, ...]


def deal(domains: Mapping[str, Sequence[Row]], *, seed: int) -> dict[str, DomainRows]:
    """Deal the rows of each domain to init, stream and test.

    Raises:
        ValueError: a domain has too few rows for the budget, or a group would cross (a bug).
    """
    dealt = {
        name: _deal_domain(rows, seed, N_INIT if name == SOURCE else 0) for name, rows in domains.items()
    }
    for name, rows in dealt.items():
        _assert_budget(name, rows)
    return dealt


def _deal_domain(rows: Sequence[Row], seed: int, n_init: int) -> DomainRows:
    keyed = sorted(((_order(_key(row), seed), row) for row in rows), key=lambda pair: pair[0])
    bundles = [[row for _, row in bundle] for _, bundle in groupby(keyed, key=lambda pair: pair[0])]
    test, rest = _take(bundles, N_TEST)
    init, stream = _take(rest, n_init)
    spread = sorted((row for bundle in stream for row in bundle), key=lambda row: _order(row.text, seed))
    return DomainRows(_flat(init), tuple(spread), _flat(test))


def _take(bundles: list[list[Row]], n: int) -> tuple[list[list[Row]], list[list[Row]]]:
    """The first bundles that hold at least `n` rows together, and the others."""
    held = 0
    for index, bundle in enumerate(bundles):
        if held >= n:
            return bundles[:index], bundles[index:]
        held += len(bundle)
    return bundles, []


def _flat(bundles: list[list[Row]]) -> tuple[Row, ...]:
    return tuple(row for bundle in bundles for row in bundle)


def _key(row: Row) -> str:
    return key_of(row.text, row.group)


def _order(text: str, seed: int) -> str:
    return hashlib.sha256(f"demo:{seed}:{text}".encode()).hexdigest()


def _assert_budget(name: str, rows: DomainRows) -> None:
    needed = N_STREAM_SOURCE if name == SOURCE else N_STREAM_TARGET
    if len(rows.test) < N_TEST or len(rows.stream) < needed:
        found = f"{len(rows.test)} test and {len(rows.stream)} stream rows"
        raise ValueError(f"{name}: {found}, needed {N_TEST} and {needed}")
    keys = [frozenset(_key(row) for row in part) for part in (rows.init, rows.stream, rows.test)]
    if keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2]:
        raise ValueError(f"{name}: a group crosses between init, stream and test")
