"""The command: its list of work, what it refuses, and two runs on one directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.adaptation.__main__ import BY_NAME, JOINT, NAMES, parse, run, works
from benchmarks.adaptation.cells import Cells
from benchmarks.adaptation.data import Study
from benchmarks.adaptation.stream import Seed


def test_an_unknown_method_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["--methods", "plan,magic"])
    assert "no such method: magic" in capsys.readouterr().err


def test_complete_seeds_come_first_and_the_plan_before_its_rivals(study: Study) -> None:
    todo = list(works(study, 3, NAMES))
    assert [work.seed for work in todo] == sorted(work.seed for work in todo)
    first = [work.method for work in todo if work.seed == 0]
    assert first[:3] == ["plan", "plan", JOINT]
    assert len(todo) == len(set(todo))


def test_every_order_is_run_but_where_there_is_none(study: Study) -> None:
    todo = list(works(study, 1, NAMES))
    for name in NAMES:
        orders = {work.order for work in todo if work.method == name}
        if name == JOINT:
            assert orders == {()}
        else:
            assert orders == set(study.orders[:1] if BY_NAME[name].unlabelled_only else study.orders)


def test_a_run_makes_the_source_for_whatever_needs_it(study: Study, tmp_path: Path) -> None:
    todo = list(works(study, 1, ["naive"]))[:1]
    ((work, seconds),) = run(tmp_path, study, todo, processes=1)
    assert work == todo[0]
    assert seconds > 0
    assert Cells(tmp_path).result(Seed(study, 0).source_cell()) is not None


@pytest.mark.parametrize("given", [[], ["--report", "--seeds", "2"]])
def test_defaults(given: list[str]) -> None:
    options = parse(given)
    assert (options.workers, str(options.out)) == (1, ".bench/adaptation")
    assert options.methods.split(",") == list(NAMES)
