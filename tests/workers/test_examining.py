"""What labels say of the champion on a window, against what is known by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, toy_shop
from trimtab.adapter import REFERENCES
from trimtab.features import References
from workers.examining import health_of
from workers.material import Material, gather
from workers.workshop import LoadedVersion, load_version

Case = tuple[ToyShop, LoadedVersion, Material]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path) -> Iterator[Case]:
    """More films, as they always were."""
    with toy_shop(tmp_path_factory.mktemp("examining"), tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 700), epochs=4)
        job = toy.open_job(toy.stream(toy_rows("film", 600, seed=4)))
        with toy.ledger.read() as tx:
            material = gather(tx, job, 100)
        yield toy, load_version(toy.shop, None, MODEL, 1), material


def test_more_of_the_same_is_in_good_health(case: Case) -> None:
    _, champion, material = case
    found = health_of(champion, material, None, tolerance=0.05, alpha=0.05)
    assert found is not None
    assert found.like == "film"
    assert found.harmless
    assert found.unmoved
    rows = (*material.rows["selection"], *material.rows["gate"])
    predicted = champion.answers.predicted([row.text for row in rows], None)
    right = [LABELS[i] == row.label for i, row in zip(predicted, rows, strict=True)]
    assert (found.n, found.accuracy) == (len(right), pytest.approx(np.mean(right)))


def test_labels_that_say_otherwise_are_believed(case: Case) -> None:
    """Two in ten labels of the window contradict the champion."""
    _, champion, material = case
    other = dict(zip(LABELS, LABELS[::-1], strict=True))
    rows = {
        part: tuple(replace(row, label=other[row.label]) if i % 5 == 0 else row for i, row in enumerate(each))
        for part, each in material.rows.items()
    }
    found = health_of(champion, replace(material, rows=rows), None, tolerance=0.05, alpha=0.05)
    assert found is not None
    assert not found.harmless
    assert found.loss == pytest.approx(0.2, abs=0.05)
    assert found.surplus > 0.1


def test_rows_of_the_replicas_speak_for_the_window(case: Case) -> None:
    """Rows of one class only: the answers moved by as much as that class was rarer."""
    _, champion, material = case
    references = References.from_bytes(champion.files[REFERENCES])
    rows = references.rows["film"]
    first = len(references.feature_map.components)
    positive = rows[rows[:, first] < rows[:, first + 1]]
    found = health_of(champion, material, positive, tolerance=0.05, alpha=0.05)
    assert found is not None
    assert found.shares_moved == pytest.approx(1.0 - len(positive) / len(rows))
    assert not found.unmoved


def test_too_few_labels_say_nothing(case: Case) -> None:
    _, champion, material = case
    few = replace(material, rows=dict(material.rows) | {"gate": material.rows["gate"][:10]})
    assert health_of(champion, few, None, tolerance=0.05, alpha=0.05) is None
    nothing = replace(material, reference=())
    assert health_of(champion, nothing, None, tolerance=0.05, alpha=0.05) is None
