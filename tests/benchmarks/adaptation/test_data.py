"""Splits: no group in two parts, nothing of a test set anywhere else, another seed another split."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.adaptation.data import PARTS, Domain, Sizes, Study, Texts, split
from tests.fixtures.toy_texts import LABELS, toy_rows
from trimtab.datafiles import Row

WANTED = {"train": 60, "selection": 24, "unlabelled": 40, "test": 1000}


def grouped_rows(n: int) -> list[Row]:
    rows = toy_rows("shop", n)
    return [
        Row(text=row.text, label=row.label, domain="shop", group=f"review-{i // 4}")
        for i, row in enumerate(rows)
    ]


def parts(domain: Domain) -> dict[str, Texts]:
    return {part: getattr(domain, part) for part in PARTS}


@pytest.mark.parametrize("rows", [toy_rows("film", 300), grouped_rows(300)], ids=["single", "grouped"])
def test_no_text_and_no_group_is_in_two_parts(rows: list[Row]) -> None:
    found = parts(split("d", rows, LABELS, WANTED, seed=0))
    for member in ("texts", "groups"):
        sets = [set(getattr(each, member)) for each in found.values()]
        assert sum(map(len, sets)) == len(set().union(*sets))


def test_parts_have_the_sizes_asked_for_and_the_test_set_takes_the_rest() -> None:
    found = parts(split("d", toy_rows("film", 300), LABELS, WANTED, seed=0))
    assert {part: len(each) for part, each in found.items()} == WANTED | {"test": 300 - 124}


def test_only_the_surplus_of_a_parts_last_group_is_left_out() -> None:
    found = parts(split("d", grouped_rows(300), LABELS, WANTED | {"train": 61}, seed=0))
    assert len(found["train"]) == 61
    assert 300 - sum(map(len, found.values())) <= 3 * 3


def test_a_text_that_comes_twice_counts_once() -> None:
    rows = toy_rows("film", 100)
    found = split("d", [*rows, *rows[:50]], LABELS, {"test": 1000}, seed=0)
    assert len(found.test) == 100


def test_labels_belong_to_their_texts() -> None:
    rows = toy_rows("film", 200)
    truth = {row.text: LABELS.index(row.label) for row in rows}
    for each in parts(split("d", rows, LABELS, WANTED, seed=3)).values():
        assert each.labels.tolist() == [truth[text] for text in each.texts]


def test_a_split_depends_on_the_seed_and_not_on_the_order_of_the_rows() -> None:
    rows = toy_rows("film", 200)
    same, other = (split("d", rows[::-1], LABELS, WANTED, seed=seed) for seed in (0, 1))
    assert split("d", rows, LABELS, WANTED, seed=0).digest() == same.digest()
    assert other.digest() != same.digest()


def test_the_first_labels_are_drawn_from_all_groups() -> None:
    """60 labels are at least 15 reviews; the first 24 of them must not be those of the first 6."""
    train = split("d", grouped_rows(400), LABELS, WANTED, seed=0).train
    assert len(set(train.first(24).groups)) > 10
    assert train.first(24).texts == train.texts[:24]
    assert np.array_equal(train.first(24).labels, train.labels[:24])


def test_joint_training_sees_at_least_as_many_texts_as_a_chain(study: Study) -> None:
    for epochs in (1, 2, 3):
        each = Study(
            rows=study.rows, labels=study.labels, base=study.base, source="film", orders=study.orders,
            sizes=Sizes(), epochs=epochs,
        )  # fmt: skip
        chain = 2000 * 2 + 2 * 600 * epochs * 2
        union = 2000 + 2 * 600
        assert chain <= each.joint_epochs * union < chain + union


def test_the_number_of_test_texts_does_not_change_what_is_trained(study: Study) -> None:
    assert "source_test" not in study.recipe()["sizes"]  # type: ignore[operator]
