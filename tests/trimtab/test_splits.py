"""Parts are decided by a hash: stable, uniform, never crossing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from trimtab.splits import LABEL_PARTS, choose_part, key_of, normalise, part_of, unit_of


def test_case_spacing_and_width_do_not_make_another_text() -> None:
    assert normalise("  A  GOOD\tfilm ") == "a good film"
    assert key_of("A good film") == key_of("a  GOOD film ") == key_of("\uff21 good film")
    assert key_of("a good film") != key_of("a bad film")


def test_the_group_decides_where_there_is_one() -> None:
    assert key_of("one", "review-7") == key_of("two", "review-7") != key_of("one", "review-8")
    assert key_of("review-7") != key_of("x", "review-7")


@given(st.text(), st.text(min_size=1, max_size=5))
def test_units_are_in_the_unit_interval_and_repeat(text: str, salt: str) -> None:
    key = key_of(text)
    assert 0.0 <= unit_of(key, salt) < 1.0
    assert unit_of(key, salt) == unit_of(key, salt)
    assert part_of(key) in LABEL_PARTS


def test_units_are_uniform_and_independent_of_other_salts() -> None:
    units = [unit_of(key_of(f"text {i}"), "a") for i in range(5000)]
    others = [unit_of(key_of(f"text {i}"), "b") for i in range(5000)]
    assert kstest(units, "uniform").pvalue > 1e-4
    assert kstest([(a - b) % 1.0 for a, b in zip(units, others, strict=True)], "uniform").pvalue > 1e-4


def test_shares_are_kept_within_the_binomial_band() -> None:
    n = 5000
    parts = [part_of(key_of(f"text {i}")) for i in range(n)]
    for part, share in LABEL_PARTS.items():
        low, high = binom.interval(0.9999, n, share)
        assert low <= parts.count(part) <= high, part


def test_shares_sum_to_one_and_rounding_never_leaves_a_key_without_a_part() -> None:
    assert abs(sum(LABEL_PARTS.values()) - 1.0) < 1e-12
    assert choose_part(key_of("x"), {"a": 0.0, "b": 0.0}) == "b"
