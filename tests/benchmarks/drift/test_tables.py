"""Tables and goals: medians, shares, what counts as met."""

from __future__ import annotations

import math

import pytest

from benchmarks.drift.changes import CHANGES
from benchmarks.drift.delays import UNION, delay_of
from benchmarks.drift.false_alarms import Condition
from benchmarks.drift.tables import (
    OUR_CHECK,
    alarm_goal,
    alarm_table,
    cost_goals,
    count,
    delay_cell,
    delay_goals,
    delay_table,
    growth,
    kind_goal,
    kind_table,
    layer_table,
    markdown,
    merged,
    rules_table,
)
from benchmarks.drift.workers import Record

CONDITION = Condition(name="any", traffic="independent", runs=100, judged_by_peers=100)


def run(union: int | None, **rules: int | None) -> Record:
    first = {"union": union, "e_detector": None, "short": union, "long": None}
    return {"first": first, "rules": rules}


def delay_run(at: int | None, **rules: int | None) -> Record:
    return {"first": {change.name: {UNION: at} | rules for change in CHANGES}}


def cells(table: str, row: int) -> list[str]:
    return [cell.strip() for cell in table.splitlines()[2 + row].strip("|").split("|")]


def test_a_table_has_a_head_a_rule_and_rows() -> None:
    assert markdown(("a", "b"), [(1, 2.5)]) == "| a | b |\n|---|---|\n| 1 | 2.5 |\n"


def test_runs_that_found_nothing_count_as_later() -> None:
    assert delay_of([100, 200, None], 1000).median == 200
    assert delay_of([100, None, None], 1000).median is None
    assert delay_of([100, None, None], 1000).found == pytest.approx(1 / 3)
    assert delay_cell(delay_of([100, 200, 300], 1000)) == "200"
    assert delay_cell(delay_of([1100, 1200, None, 500], 2000)) == "1,150 (0.75)"
    assert delay_cell(delay_of([None], 1000)) == "later (0.00)"


def test_an_alarm_table_says_whether_the_promise_was_kept() -> None:
    kept, broken = [run(None)] * 100, [run(600)] * 100
    row = cells(alarm_table(CONDITION, kept), 0)
    assert row[0] == "1,000"
    assert row[3:5] == ["**0.000**", "kept, rarer than promised"]
    assert cells(alarm_table(CONDITION, broken), 0)[3:5] == ["**1.000**", "**broken**"]
    assert cells(alarm_table(CONDITION, broken), 0)[5:] == ["0.000", "1.000", "0.000"]


def test_the_goal_of_a_condition() -> None:
    assert alarm_goal(CONDITION, [run(None)] * 100).met is True
    broken = alarm_goal(CONDITION, [run(600)] * 100)
    assert broken.met is False
    assert "1.000 by 1,000" in broken.why
    assert alarm_goal(CONDITION, []).met is None


def test_the_peers_stand_beside_with_their_own_number_of_runs() -> None:
    records = [run(None, loud=500), run(1000, loud=500), {"first": run(None)["first"]}]
    river = [{"condition": "any", "first": {"ADWIN": None}}]
    table = rules_table([(CONDITION, records)], river)
    assert cells(table, 0)[1] == "0.33, 1 per 13,000 (3 runs)"
    assert cells(table, 1) == ["loud", "1.00, 1 per 500 (2 runs)"]
    assert cells(table, 2) == ["ADWIN", "0.00, 1 per more than seen (1 runs)"]


def test_delays_with_what_they_cost_and_what_was_possible() -> None:
    effects = {
        CHANGES[0].name: {
            "drop": 1.23,
            "balanced_drop": -0.5,
            "bound": {"last": {"kl": 0.1, "events": 115.2}},
        }
    }
    table = delay_table([delay_run(300), delay_run(500)], effects, "last")
    assert cells(table, 0) == [CHANGES[0].name, "1.2 (-0.5)", "115", "400"]
    assert cells(table, 1) == [CHANGES[1].name, "-", "-", "400"]
    assert len(table.splitlines()) == 2 + len(CHANGES)


def test_rules_of_fewer_runs_join_the_first_ones() -> None:
    both = merged([delay_run(300), delay_run(500)], [delay_run(None, river=40)])
    name = CHANGES[0].name
    assert both[0]["first"][name] == {UNION: None, "river": 40}
    assert both[1]["first"][name] == {UNION: 500}
    assert "(1 runs)" in delay_table(both, {}, "last").splitlines()[0]


def test_layers_stand_side_by_side() -> None:
    table = layer_table({"last": [delay_run(100)], "embedding": [delay_run(50)]}, {})
    assert cells(table, 3)[1:] == ["-", "100", "-", "50"]


def test_goals_on_delays_name_what_bounds_them() -> None:
    goals = delay_goals([delay_run(250)] * 3, {})
    by_name = {goal.name: goal for goal in goals}
    assert len(goals) == sum(change.goal is not None for change in CHANGES) == 7
    assert by_name["rotation 45°: median delay at most 200"].met is False
    assert "told the drift" in by_name["rotation 45°: median delay at most 200"].why
    assert by_name["nyt 30 %: median delay at most 300"].met is True
    assert all(goal.met is None for goal in delay_goals([], {}))


def kinds(right: int, of: int) -> list[Record]:
    return [
        {
            "drift": f"d{i}",
            "expected": "concept",
            "drop": 3.0,
            "at": 100,
            "at_job": "concept" if i < right else "source",
            "settled": "concept",
        }
        for i in range(of)
    ]


def test_kinds_are_right_in_most_runs_or_not() -> None:
    assert kind_goal(kinds(7, 8)).met is True
    six = kind_goal(kinds(6, 8))
    assert six.met is False
    assert six.why == "missed: d6, d7"
    assert "8 of 8 right when the window is all new" in six.found
    assert kind_goal([]).met is None


def test_the_kind_table_says_what_was_said_else() -> None:
    table = kind_table(kinds(1, 2) + kinds(0, 1))
    assert cells(table, 0) == ["d0", "3.0", "concept", "100", "1/2 (source 1)", "2/2"]
    assert cells(table, 1)[4] == "0/1 (source 1)"


def costs(event_us: float = 5.0, rival_ms: float = 200.0, last_mb: int = 100) -> Record:
    return {
        "small": {"event_us": event_us, "check_us": 50.0, "state_bytes": 900_000, "features": 43},
        "interleaved": {
            "cpu_ms": {OUR_CHECK: 0.4, "Trimtab, 50 events taken": 0.1, "scipy": rival_ms, "slow": 900.0}
        },
        "memory": {"curve": [(i, last_mb * 1_000_000 if i == 9 else 99_000_000) for i in range(10)]},
    }


def test_goals_on_cost() -> None:
    assert [goal.met for goal in cost_goals(costs())] == [True] * 5
    worse = cost_goals(costs(event_us=11.0, rival_ms=100.0, last_mb=102))
    assert [goal.met for goal in worse] == [False, True, True, False, False]
    assert worse[3].found == "250 times (scipy)"
    assert {goal.met for goal in cost_goals({})} == {None}


def test_growth_is_counted_behind_the_first_fifth() -> None:
    assert growth([(0, 10), (1, 50), (2, 60), (3, 61), (4, 62)]) == (12, 4)


def test_numbers_for_people() -> None:
    assert count(12345.6) == "12,346"
    assert count(math.inf) == "more than seen"
