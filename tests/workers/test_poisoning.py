from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.labels import Labelled
from workers.poisoning import (
    SEVERAL,
    capped,
    cleaned,
    largest_cap,
    report_of,
    total_variation,
    words_of,
)


@dataclass(frozen=True)
class Row:
    text: str
    label: str
    key: str
    client: str | None


def rows_of(clients: dict[str | None, int]) -> list[Row]:
    """Rows with distinct words and keys that say nothing of the client."""
    found = [client for client, n in clients.items() for _ in range(n)]
    letters = str.maketrans("0123456789", "abcdefghij")
    return [
        Row(f"text {str(i).translate(letters)}", "pos", f"{(i * 7919) % 100003:06d}", client)
        for i, client in enumerate(found)
    ]


def counts_of(rows: Sequence[Row]) -> Counter[str | None]:
    return Counter(row.client for row in rows)


def test_a_client_is_cut_to_a_fifth() -> None:
    rows = rows_of({"a": 500, "b": 50, "c": 50, "d": 50, "e": 50, "f": 50})
    kept = counts_of(capped(rows, 0.2))
    assert kept == {"a": 62, "b": 50, "c": 50, "d": 50, "e": 50, "f": 50}
    assert kept["a"] <= 0.2 * sum(kept.values())


@pytest.mark.parametrize("clients", [{"a": 100}, {"a": 99, "b": 1}, {None: 30}])
def test_one_or_two_clients_are_not_cut(clients: dict[str | None, int]) -> None:
    rows = rows_of(clients)
    assert capped(rows, 0.2) == rows


def test_three_clients_may_have_a_third_each() -> None:
    kept = counts_of(capped(rows_of({"a": 90, "b": 30, "c": 30}), 0.2))
    assert kept == {"a": 30, "b": 30, "c": 30}


CLIENTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 60), min_size=1)


@given(CLIENTS, st.sampled_from([0.1, 0.2, 0.34, 1.0]), st.randoms(use_true_random=False))
def test_caps_hold_for_any_order(clients: dict[str | None, int], share: float, random: object) -> None:
    rows = rows_of(clients)
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    kept = capped(rows, share)
    assert set(capped(shuffled, share)) == set(kept)
    assert set(kept) <= set(rows)
    if len(clients) >= SEVERAL:
        counts = counts_of(kept)
        assert counts.keys() == clients.keys()
        limit = max(share, 1 / len(clients))
        assert max(counts.values()) <= max(limit * len(kept), 1) + 1e-6


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.floats(0.05, 1.0))
def test_the_largest_cap_by_trying_all(counts: list[int], share: float) -> None:
    fitting = [
        m for m in range(1, max(counts) + 1) if m <= share * sum(min(count, m) for count in counts) + 1e-9
    ]
    assert largest_cap(counts, share) == max(fitting, default=1)


@given(CLIENTS, st.integers(0, 200))
def test_never_fewer_than_needed(clients: dict[str | None, int], at_least: int) -> None:
    rows = rows_of(clients)
    found = cleaned(rows, max_share=0.2, at_least=at_least)
    assert len(found.rows) >= min(at_least, len(rows))
    assert len(found.rows) + found.capped + found.copies == len(rows)
    assert [row for row in rows if row in set(found.rows)] == list(found.rows)


def test_near_copies_count_once_with_one_label() -> None:
    texts = ["Order 12 has arrived!", "order 977 has arrived", "Order 5 has arrived?", "it broke"]
    rows = [Row(text, "pos", str(9 - i), "a") for i, text in enumerate(texts)]
    rows.append(Row("ORDER 1 HAS ARRIVED", "neg", "1", "a"))
    found = cleaned(rows, max_share=0.2, at_least=0)
    assert [row.key for row in found.rows] == ["7", "6", "1"]
    assert found.copies == 2
    assert report_of(rows, rows, ["pos"] * 5, np.ones(5), 2).duplicates == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("Order #12 arrived.", "order arrived"), ("5/5!", "5/5!"), ("Ünïcode 3×", "ünïcode"), ("", "")],
)
def test_words(text: str, words: str) -> None:
    assert words_of(text) == words


def test_the_report_counts_by_client_on_the_surer_half() -> None:
    rows = [Labelled(f"text {i}", "pos", str(i), None, client) for i, client in enumerate("aabb")]
    found = report_of(
        rows[:3], rows, ["pos", "neg", "neg", "neg"], np.array([0.9, 0.8, 0.6, 0.7]), 2,
        capped=3, copies=1, class_distance=0.25,
    )  # fmt: skip
    assert (found.n, found.clients) == (3, {"a": 2, "b": 1})
    assert (found.judged, found.contradictions) == ({"a": 2}, {"a": 1})
    assert (found.capped, found.copies, found.class_distance) == (3, 1, 0.25)


def test_a_report_of_nothing() -> None:
    assert report_of([], [], [], np.empty(0), 2).clients == {}


def test_answers_must_be_of_these_rows() -> None:
    with pytest.raises(ValueError, match="zip"):
        report_of([], rows_of({"a": 2}), ["pos"], np.ones(2), 2)


def test_total_variation() -> None:
    assert total_variation({"a": 1, "b": 1}, {"a": 3, "b": 1}) == pytest.approx(0.25)
    assert total_variation({"a": 5}, {"b": 7}) == pytest.approx(1.0)
    assert total_variation({"a": 2, "b": 4}, {"b": 2, "a": 1}) == pytest.approx(0.0)
    assert total_variation({}, {"a": 1}) is None
