"""The report of a finished tiny study, of half of one, and of nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.adaptation.cells import Cells
from benchmarks.adaptation.charts import interval_chart
from benchmarks.adaptation.data import Study
from benchmarks.adaptation.goals import goals, prior_goals, ratio, speed_goal
from benchmarks.adaptation.methods import METHODS, OURS
from benchmarks.adaptation.report import write_report
from benchmarks.adaptation.results import Results, common
from benchmarks.adaptation.scores import Figure
from benchmarks.adaptation.stream import Seed


def test_the_report_holds_every_method_and_goal(results: Results) -> None:
    report = write_report(results)
    assert all(
        f"| {method.title} |" in report for method in METHODS if method.learn and not method.unlabelled_only
    )
    assert all(goal.what in report for goal in goals(results))
    assert "## film, then shop, club" in report
    assert "## film, then club, shop" in report
    for name in ("average-balanced-accuracy", "most-forgotten"):
        drawn = (results.cells.directory / f"{name}.svg").read_text(encoding="utf-8")
        assert f"({name}.svg)" in report
        assert drawn.count("<circle") >= 2 * (1 + len(results.study.orders))


def test_nothing_measured_is_nothing_held(study: Study, tmp_path: Path) -> None:
    empty = Results(Cells(tmp_path), study, n_seeds=1, n_draws=5)
    found = goals(empty)
    assert len(found) == 3 * 2 + 1 + 2 + 1
    assert not any(goal.held for goal in found)
    assert all(goal.measured == "not run" for goal in found)
    assert "not run" in write_report(empty)


def test_a_seed_counts_when_all_its_steps_are_in(results: Results, study: Study) -> None:
    wider = Results(results.cells, study, n_seeds=2, n_draws=5)
    chain = wider.chain(OURS, study.orders[0])
    assert chain is not None
    assert chain.seeds == (0,)
    assert "the plan 1" in write_report(wider)
    write_report(results)


def test_a_matrix_is_what_the_cells_say(results: Results, study: Study) -> None:
    order, seed = study.orders[0], Seed(study, 0)
    chain = results.chain(OURS, order)
    assert chain is not None
    assert chain.matrices[0].shape == (51, 3, 3)
    step = results.cells.result(seed.step_cell(OURS, order, 2))
    assert step is not None
    test = seed.domains["club"].test
    right = np.unpackbits(np.frombuffer(bytes.fromhex(step["right"]["club"]), np.uint8))[: len(test)]
    recalls = [right[test.labels == label].mean() for label in (0, 1)]
    assert chain.matrices[0][0, 2, 2] == pytest.approx(np.mean(recalls))


def test_joint_training_is_compared_in_the_columns_of_the_order(results: Results, study: Study) -> None:
    first, second = (results.joint(order) for order in study.orders)
    assert first is not None
    assert second is not None
    assert first.matrices[0][0, -1] == pytest.approx(second.matrices[0][0, -1][[0, 2, 1]])


def test_only_common_seeds_are_compared(results: Results, study: Study) -> None:
    chain = results.chain(OURS, study.orders[0])
    assert chain is not None
    other = replace(chain, seeds=(0, 3))
    assert common(chain, other) == [0]
    assert common(chain, None) == []


def test_what_was_chosen_is_told(results: Results) -> None:
    assert "## What was chosen" in write_report(results)


@pytest.mark.parametrize(("share", "ms", "held"), [(0.95, 12.0, [True, True]), (0.85, 60.0, [False, False])])
def test_the_prior_corrections_goals(share: float, ms: float, held: list[bool]) -> None:
    assert [goal.held for goal in prior_goals({"share_of_oracle": share, "ms_per_1000": ms})] == held


def test_the_goal_of_speed() -> None:
    assert speed_goal({"share_of_trainer": 0.4}).held
    assert not speed_goal({"share_of_trainer": 0.6}).held


def test_raw_results_beside_the_cells_are_read(results: Results) -> None:
    path = results.cells.directory / "speed.json"
    path.write_text(json.dumps({"share_of_trainer": 0.41}))
    assert "41 %" in write_report(results)
    path.unlink()


def test_a_share_of_no_gain_is_none() -> None:
    found = ratio(np.array([0.1, 0.1, 0.1]), np.array([0.2, 0.0, -0.1]))
    assert found.value == pytest.approx(0.5)
    assert found.low == pytest.approx(0.0)


def test_a_chart_draws_every_interval() -> None:
    rows = {"a <b>": [Figure(0.5, 0.4, 0.6)], "c": [Figure(0.7, 0.65, 0.8)]}
    drawn = interval_chart("title", "points", rows, ["first"])
    assert drawn.count("<circle") == 2 + 1
    assert "a &lt;b&gt;" in drawn
    with pytest.raises(ValueError, match="nothing to draw"):
        interval_chart("title", "points", {}, ())
