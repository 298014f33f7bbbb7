"""The command: its parts, its steps, what it refuses, and a report from whatever results there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.drift.__main__ import PARTS, QUICK, Sizes, steps
from benchmarks.drift.delays import one_run
from benchmarks.drift.false_alarms import CONDITIONS
from benchmarks.drift.report import NAME, goals, shortened, write_report
from benchmarks.drift.results import Results, Step
from benchmarks.drift.tables import OUR_CHECK
from benchmarks.drift.workers import Record

ROOT = Path(__file__).parents[3]


def test_an_unknown_part_is_refused() -> None:
    argv = [sys.executable, "-m", "benchmarks.drift", "--only", "alarms,weather"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such part: weather" in done.stderr


def test_every_step_has_a_name_of_its_own(cached: Path) -> None:
    every = [step for part in PARTS for step in steps(part, Sizes(), cached)]
    assert len({step.name for step in every}) == len(every)
    assert all("/" not in step.name and " " not in step.name for step in every)


def test_quick_and_full_are_different_plans(cached: Path) -> None:
    for part in PARTS:
        quick, full = steps(part, QUICK, cached), steps(part, Sizes(), cached)
        assert [step.name for step in quick] == [step.name for step in full]
        assert any(a.plan != b.plan for a, b in zip(quick, full, strict=True))


def test_a_shortened_condition_asks_for_no_more_peers_than_runs() -> None:
    assert (shortened(CONDITIONS[0], 4).runs, shortened(CONDITIONS[0], 4).judged_by_peers) == (4, 4)
    assert shortened(CONDITIONS[3], 4).judged_by_peers == 0


def test_a_report_of_nothing_names_every_goal(tmp_path: Path) -> None:
    write_report(Results(tmp_path))
    report = (tmp_path / NAME).read_text(encoding="utf-8")
    found = goals(Results(tmp_path))
    assert len(found) == len(CONDITIONS) + 7 + 1 + 5
    assert all(goal.met is None and goal.name in report for goal in found)


def cost_records() -> list[Record]:
    turn = {
        "cpu_ms": {OUR_CHECK: 0.2, "scipy": 100.0},
        "versions": {"peer": "1.0"},
        "rounds": 2,
        "missing": ["other"],
    }
    return [
        {"name": "small", "features": 43, "event_us": 3.0, "check_us": 40.0, "state_bytes": 800_000},
        {"name": "interleaved", **turn},
        {"name": "river", "event_us": {"ADWIN": 0.1}},
        {"name": "memory", "curve": [(1000 * i, 10**8) for i in range(1, 11)]},
    ]


def test_a_report_holds_the_parts_that_were_run(tmp_path: Path, cached: Path) -> None:
    results = Results(tmp_path)
    record = one_run("last", 0, cached, 0)
    results.finish(Step("delay-last", {}, lambda: [record]))
    results.finish(Step("cost", {}, cost_records))
    write_report(results)
    report = (tmp_path / NAME).read_text(encoding="utf-8")
    assert "## Median events to the first threshold crossing" in report
    assert "500 times (scipy)" in report
    assert "other did not install" in report
    assert "## False alarms" not in report
    assert (tmp_path / "memory.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_delay_run_judges_every_change_by_every_own_rule(cached: Path) -> None:
    record = one_run("embedding", 0, cached, 1)
    rules = {frozenset(each) for each in record["first"].values()}
    assert len(rules) == 1
    gross = record["first"]["nyt 100 %"]
    assert np.all([at is not None for name, at in gross.items() if not name.startswith("e_detector")])
