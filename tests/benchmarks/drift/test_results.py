"""Results on disk: a step runs once for a plan, and again for another one or when asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.drift.results import Results, Step, machine
from benchmarks.drift.workers import Record


def step(made: list[int], plan: Record) -> Step:
    def run() -> list[Record]:
        made.append(1)
        return [{"n": len(made)}]

    return Step("part", plan, run)


def test_a_finished_step_is_not_run_again(tmp_path: Path) -> None:
    made: list[int] = []
    results = Results(tmp_path)
    results.finish(step(made, {"runs": 4}))
    results.finish(step(made, {"runs": 4}))
    assert results.records("part") == [{"n": 1}]
    results.finish(step(made, {"runs": 5}))
    assert results.records("part") == [{"n": 2}]
    results.finish(step(made, {"runs": 5}), fresh=True)
    assert results.records("part") == [{"n": 3}]


def test_a_step_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> list[Record]:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        Results(tmp_path).finish(Step("part", {}, fail))
    assert Results(tmp_path).records("part") == []
    assert list(tmp_path.iterdir()) == []


def test_results_say_where_and_how_long(tmp_path: Path) -> None:
    results = Results(tmp_path)
    assert results.machine() == {}
    results.finish(step([], {}))
    assert results.machine() == machine() | {"load": results.machine()["load"]}
    assert set(results.seconds()) == {"part"}


def test_steps_of_other_code_are_named(tmp_path: Path) -> None:
    results = Results(tmp_path)
    old = {"plan": {}, "seconds": 1.0, "machine": {"monitoring": "before"}, "records": []}
    (tmp_path / "old.json").write_text(json.dumps(old))
    results.finish(step([], {}))
    assert results.outdated() == ["old"] or results.machine()["monitoring"] == "before"
