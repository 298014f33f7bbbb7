"""The report of a finished tiny study, of half of one, and of nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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


def windows(corrected: float, ms: float) -> list[dict[str, Any]]:
    """As prior.json holds them: the oracle gains 0.1; the weak shift must not count."""
    common = {"champion": 0.7, "oracle": 0.8, "milliseconds": ms, "proposed": True}
    strong = [
        {"seed": seed, "share": share, "corrected": corrected, **common}
        for seed in (0, 1)
        for share in (0.1, 0.9)
    ]
    return [*strong, {"seed": 0, "share": 0.5, "corrected": 0.1, **common}]


@pytest.mark.parametrize(("corrected", "ms", "held"), [(0.795, 12.0, True), (0.785, 60.0, False)])
def test_the_prior_corrections_goals(corrected: float, ms: float, held: bool) -> None:
    found = prior_goals(windows(corrected, ms))
    assert [goal.held for goal in found] == [held, held]
    assert found[0].measured == f"{1000 * (corrected - 0.7):.0f} %, 4 windows"


def fits(cpu_s: Sequence[float], accuracy: float = 0.9) -> list[dict[str, Any]]:
    """As speed.json holds them: the peer takes 100 s and is right in 9 of 10."""
    ours = [{"name": "ours", "seed": i, "cpu_s": each, "accuracy": accuracy} for i, each in enumerate(cpu_s)]
    return [*ours, *({**each, "name": "Trainer + peft", "cpu_s": 100.0, "accuracy": 0.9} for each in ours)]


def test_the_goal_of_speed_is_the_median_of_the_seeds() -> None:
    assert speed_goal(fits([30.0, 45.0, 90.0])).held
    assert not speed_goal(fits([30.0, 60.0, 90.0])).held
    assert speed_goal(fits([30.0], accuracy=0.892)).held
    assert not speed_goal(fits([30.0], accuracy=0.888)).held  # fast and worse


def test_raw_results_beside_the_cells_are_read(results: Results) -> None:
    for name, raw in (("speed", fits([41.0])), ("prior", windows(0.797, 12.0))):
        (results.cells.directory / f"{name}.json").write_text(json.dumps(raw), encoding="utf-8")
    report = write_report(results)
    assert "41 %, median of 1 seeds" in report
    assert "97 %, 4 windows" in report
    for name in ("speed", "prior"):
        (results.cells.directory / f"{name}.json").unlink()


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
