"""Who is learnt from: caps by client, near-copies left out, and what the gate is told of the training rows.

A poisoned label is not told from a true one by looking at it. What can be done is to bound what one client weighs,
to see labels that contradict the champion more than ignorance would, and to keep what was learnt out of the memory
until it has proved itself (probation) or for good (quarantine).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from trimtab.splits import normalise
from trimtab.stats.tango import Floats

SEVERAL = 3  # clients from which on one of them may not dominate
_WORDS = re.compile(r"[^\W\d_]+")


class Row(Protocol):
    """A labelled text of a client."""

    @property
    def text(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def client(self) -> str | None: ...


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What was trained on, as the gate judges it.

    Attributes:
        n: Rows.
        n_labels: Labels of the model.
        clients: Rows by client.
        judged: By client, offered rows on which the champion is surer than on half of them; None: all trained on.
        contradictions: Of these, rows whose label is not what the champion answers.
        duplicates: Rows that repeat the words of another one with the same label.
        class_distance: Total variation between the rows' classes and the window's; None: unknown.
        capped, copies: Rows that were left out before: over a client's share, near-copies.
    """

    n: int
    n_labels: int
    clients: Mapping[str, int]
    contradictions: Mapping[str, int]
    judged: Mapping[str, int] | None = None
    duplicates: int = 0
    class_distance: float | None = None
    capped: int = 0
    copies: int = 0


@dataclass(frozen=True)
class Cleaned(Generic[R]):
    """Rows to train on, in their order, and how many were left out and why."""

    rows: tuple[R, ...]
    capped: int
    copies: int


def cleaned(rows: Sequence[R], *, max_share: float, at_least: int) -> Cleaned[R]:
    """Leaves out near-copies, then the surplus of clients that have more than their share.

    Which rows go depends on their keys only, not on their order. Never fewer than `at_least` rows stay of as many:
    then the gate says what is wrong with them.
    """
    distinct = _at_least(rows, _distinct(rows), at_least)
    kept = _at_least(distinct, capped(distinct, max_share), at_least)
    return Cleaned(tuple(kept), capped=len(distinct) - len(kept), copies=len(rows) - len(distinct))


def capped(rows: Sequence[R], max_share: float) -> list[R]:
    """The rows of each client with the smallest keys, so that none has more than `max_share` of what is left.

    With fewer clients than shares (four at a share of 1/5), each may have as much as another. Fewer than three clients
    are not capped: one could not be told from the other, and the only one is all there is to learn from.
    """
    counts = Counter(_client(row) for row in rows)
    if len(counts) < SEVERAL:
        return list(rows)
    most = largest_cap(sorted(counts.values()), max(max_share, 1.0 / len(counts)))
    mine: dict[str, list[str]] = {}
    for row in rows:
        mine.setdefault(_client(row), []).append(row.key)
    kept = {(client, key) for client, keys in mine.items() for key in sorted(keys)[:most]}
    return [row for row in rows if (_client(row), row.key) in kept]


def largest_cap(counts: Sequence[int], share: float) -> int:
    """The largest m >= 1 with m <= share * sum(min(count, m)): no client then has more than the share.

    The right side grows by less and less as m grows, so the first m that is too large ends the search.
    """
    caps = np.arange(1, max(counts) + 1)
    totals = np.minimum(np.asarray(counts)[:, None], caps).sum(axis=0)
    fitting = caps[caps <= share * totals + 1e-9]
    return int(fitting[-1]) if fitting.size else 1


def report_of(
    rows: Sequence[Row],
    offered: Sequence[Row],
    answers: Sequence[str],
    confidence: Floats,
    n_labels: int,
    *,
    class_distance: float | None = None,
    capped: int = 0,
    copies: int = 0,
) -> DataReport:
    """What the gate is told of the rows trained on.

    Args:
        rows: What is trained on.
        offered: What it was chosen from: a client whose surplus was left out is judged by all that it sent.
        answers, confidence: The champion's label of each offered row, and (n,) how sure it is. Labels are compared
            with the surer half of the answers: where the champion knows little, they need not agree.
    """
    sure = confidence >= np.median(confidence) if len(offered) else np.empty(0, dtype=bool)
    judged = [(row, answer) for row, answer, chosen in zip(offered, answers, sure, strict=True) if chosen]
    return DataReport(
        n=len(rows),
        n_labels=n_labels,
        clients=Counter(_client(row) for row in rows),
        judged=Counter(_client(row) for row, _ in judged),
        contradictions=Counter(_client(row) for row, answer in judged if row.label != answer),
        duplicates=len(rows) - len(_distinct(rows)),
        class_distance=class_distance,
        capped=capped,
        copies=copies,
    )


def total_variation(one: Mapping[str, int], other: Mapping[str, int]) -> float | None:
    """Half the sum of the differences between two shares of classes, in [0, 1]; None without any count."""
    n, m = sum(one.values()), sum(other.values())
    if not n or not m:
        return None
    return 0.5 * math.fsum(
        abs(one.get(each, 0) / n - other.get(each, 0) / m) for each in one.keys() | other.keys()
    )


def words_of(text: str) -> str:
    """The text's words without numbers, signs and case: near-copies have the same."""
    return " ".join(_WORDS.findall(normalise(text))) or normalise(text)


def _distinct(rows: Sequence[R]) -> list[R]:
    """Of the rows with the same words and label, the one with the smallest key."""
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        same = words_of(row.text), row.label
        first[same] = min(row.key, first.get(same, row.key))
    kept = set(first.values())
    return [row for row in rows if row.key in kept]


def _at_least(rows: Sequence[R], kept: Sequence[R], at_least: int) -> list[R]:
    """The kept rows, filled up from the others by key where they are too few."""
    chosen = {(_client(row), row.key) for row in kept}
    others = sorted((row.key, _client(row)) for row in rows if (_client(row), row.key) not in chosen)
    chosen |= {(client, key) for key, client in others[: max(at_least - len(kept), 0)]}
    return [row for row in rows if (_client(row), row.key) in chosen]


def _client(row: Row) -> str:
    return row.client or ""
