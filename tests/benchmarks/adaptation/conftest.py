"""A study of toy texts on a tiny base, run once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.adaptation.__main__ import make, works
from benchmarks.adaptation.cells import Cells
from benchmarks.adaptation.data import Sizes, Study
from benchmarks.adaptation.methods import METHODS
from benchmarks.adaptation.results import Results
from benchmarks.adaptation.stream import Runner
from tests.fixtures.toy_texts import LABELS, toy_rows
from trimtab.datafiles import Row

TINY = Sizes(
    source_train=120, source_selection=40, source_test=80, train=60, selection=24, few_train=24, few_selection=20,
    unlabelled=40,
)  # fmt: skip
MATCH = str.maketrans({"p": "q", "b": "d"})


def rows_of(domain: str) -> list[Row]:
    """Toy rows; "club" is "shop" in other letters, and its texts come in groups of three."""
    if domain != "club":
        return toy_rows(domain, 320)
    rows = toy_rows("shop", 320, seed=5)
    return [
        replace(row, text=row.text.translate(MATCH), domain="club", group=f"review-{i // 3}")
        for i, row in enumerate(rows)
    ]


@pytest.fixture(scope="session")
def study(tiny_base_dir: Path) -> Study:
    return Study(
        rows={name: rows_of(name) for name in ("film", "shop", "club")},
        labels=LABELS,
        base=str(tiny_base_dir),
        source="film",
        orders=(("shop", "club"), ("club", "shop")),
        sizes=TINY,
        memory=90,
        epochs=1,
    )


@pytest.fixture(scope="session")
def runner(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """With every cell of one seed made, but the peer's."""
    runner = Runner(Cells(tmp_path_factory.mktemp("adaptation")), study)
    names = ["joint", *(method.name for method in METHODS if method.learn is not None)]
    for work in works(study, 1, names):
        make(runner, work)
    return runner


@pytest.fixture(scope="session")
def results(runner: Runner, study: Study) -> Results:
    return Results(runner.cells, study, n_seeds=1, n_draws=50)
