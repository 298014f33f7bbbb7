"""Cells: whole or not there, by what they depend on."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from benchmarks.adaptation.cells import Cell, Cells

ONE = Cell("plan/a-b/seed-0", {"seed": 0, "code": 1})


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    assert cells.result(ONE) is None
    cells.keep(ONE, {"value": 3}, {"a.json": b"{}", "b.bin": b"\0\1"})
    found = cells.result(ONE)
    assert found is not None
    assert found["value"] == 3
    assert cells.files(ONE) == {"a.json": b"{}", "b.bin": b"\0\1"}


def test_a_cell_of_other_code_is_not_there(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    cells.keep(ONE, {}, {})
    assert cells.result(Cell(ONE.name, {"seed": 0, "code": 2})) is None
    assert cells.result(Cell(ONE.name, {"code": 1, "seed": 0})) is not None


def test_files_without_a_result_are_not_a_cell(tmp_path: Path) -> None:
    """As after a kill between the two."""
    cells = Cells(tmp_path)
    cells.keep(ONE, {}, {"a": b"1"})
    (tmp_path / "cells" / f"{ONE.name}.json").unlink()
    assert cells.result(ONE) is None


def hold_lock(directory: str, held: object, leave: object) -> None:
    with Cells(Path(directory)).alone(ONE):
        held.set()  # type: ignore[attr-defined]
        leave.wait(60)  # type: ignore[attr-defined]


def test_a_cell_is_made_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, leave = context.Event(), context.Event()
    child = context.Process(target=hold_lock, args=(str(tmp_path), held, leave))
    child.start()
    assert held.wait(60)
    child.kill()
    child.join(60)
    with Cells(tmp_path).alone(ONE):
        assert not leave.is_set()
