from __future__ import annotations

from pathlib import Path

from benchmarks.gate.__main__ import (
    QUICK,
    Sizes,
    cells,
    kinds_of,
    known_cells,
    known_fates,
    run_bad,
    run_simulated,
)
from benchmarks.gate.bad import BAD, Fate, Setting
from benchmarks.gate.report import FIGURE, Simulated, goals, write_report

FATES = [Fate(kind, i, "rejected", False, ("gain",), -0.05, 0.0) for kind in BAD for i in range(14)]
MARGIN = Simulated("margin", 1000, 0.08, 0.03, 1000, 50)


def test_a_hundred_bad_ones_and_five_good() -> None:
    assert sum(kinds_of(Sizes()).values()) == 105
    assert set(kinds_of(QUICK).values()) == {1}


def test_goals_are_judged_by_what_was_found() -> None:
    reached = [Fate("NaN", 99, "promoted", True, (), 0.0, 0.0)]
    assert [goal.held for goal in goals(FATES, [MARGIN])] == [True, True]
    assert [goal.held for goal in goals(FATES + reached, [])] == [False]
    often = Simulated("margin", 1000, 0.08, 0.03, 1000, 90)
    seldom = Simulated("good", 1000, 0.08, 0.0, 1000, 800)
    assert [goal.held for goal in goals([], [often, seldom])] == [False, False]


def test_none_of_a_hundred_is_said_with_its_bound() -> None:
    hundred = [Fate("NaN", i, "rejected", False, (), None, None) for i in range(100)]
    (goal,) = goals(hundred, [])
    assert goal.measured == "0 of 100; with 95 % confidence below 0.030 of such candidates"


def test_the_report_has_every_part(tmp_path: Path) -> None:
    curve = [Simulated("curve", 500, 0.08, loss / 100, 200, 100 - loss) for loss in range(6)]
    write_report(tmp_path, FATES, [MARGIN, *curve], {"machine": "test"})
    found = (tmp_path / "report.md").read_text()
    assert all(kind in found for kind in BAD)
    assert "0.050 [" in found
    assert (tmp_path / FIGURE).read_text().startswith("<svg")


def test_an_empty_report_is_one(tmp_path: Path) -> None:
    write_report(tmp_path, [], [], {})
    assert "## Goals" in (tmp_path / "report.md").read_text()


def test_the_simulation_is_kept_and_not_run_again(tmp_path: Path) -> None:
    sizes = Sizes(draws=2, curve=1)
    run_simulated(tmp_path, sizes)
    found = known_cells(tmp_path)
    assert len(found) == len(cells(sizes))
    run_simulated(tmp_path, sizes)
    assert known_cells(tmp_path) == found


def test_candidates_are_kept_as_they_are_found(tmp_path: Path, setting: Setting) -> None:
    run_bad(tmp_path, setting, {"NaN": 1})
    (found,) = known_fates(tmp_path)
    assert found.kind == "NaN"
    run_bad(tmp_path, setting, {"NaN": 1})
    assert known_fates(tmp_path) == [found]
