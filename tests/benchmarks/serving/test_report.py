"""The report of HTTP: medians over rounds, ratios within rounds, goals held or not; tables and figures."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks.serving.figures import Point, Series, plot
from benchmarks.serving.intervals import median_interval, paired_difference
from benchmarks.serving.load import Exchange, account
from benchmarks.serving.machine import facts
from benchmarks.serving.markdown import Goal, goals_table, table
from benchmarks.serving.over_http import Cell, EngineCell, Machine
from benchmarks.serving.precision import Int8Result
from benchmarks.serving.report import figures, http_goals, http_section, int8_section, rows_of, whole

ROUNDS = 9


def cell(number: int, server: str, concurrency: int, cpu_ms: float, latency_s: float) -> Cell:
    """Ten answers of one latency, more slowly in later rounds: that must cancel."""
    slowness = 1.0 + 0.1 * number
    load = account([Exchange(0.0, latency_s * slowness, 200)] * 10, window_s=1.0, client_cpu_s=0.001)
    return Cell(number, server, concurrency, cpu_ms * slowness, 0.5, 100.0, load)


def cells(**servers: tuple[float, float]) -> list[Cell]:
    """Cells of nine rounds at 1, 8 and 32, by server: CPU ms and latency in seconds."""
    return [
        cell(number, server.replace("_", "-"), concurrency, cpu_ms, latency_s)
        for number in range(ROUNDS)
        for concurrency in (1, 8, 32)
        for server, (cpu_ms, latency_s) in servers.items()
    ]


def held(made: list[Cell], engine_ms: float = 3.5) -> dict[str, bool]:
    engine = [EngineCell(number, 32, engine_ms * (1.0 + 0.1 * number)) for number in range(ROUNDS)]
    return {goal.what: goal.held for goal in http_goals(rows_of(made), engine)}


def test_ratios_are_within_rounds_and_medians_over_them() -> None:
    rows = {
        (row.server, row.concurrency): row for row in rows_of(cells(trimtab=(4.0, 0.01), plain=(12.0, 0.05)))
    }
    assert len(rows) == 6
    plain = rows["plain", 32]
    assert plain.cpu_ratio.text() == "3.00 [3.00, 3.00]"
    assert plain.p95_ratio.text() == "0.20 [0.20, 0.20]"
    assert plain.cpu_ms.value == pytest.approx(12.0 * 1.4)
    assert plain.p99_ms == pytest.approx(50.0 * 1.8)
    assert (plain.n, plain.failed) == (90, 0)
    assert rows["trimtab", 32].cpu_ratio.value == 1.0


def test_rows_come_by_concurrency_then_cpu() -> None:
    rows = rows_of(cells(trimtab=(4.0, 0.01), plain=(12.0, 0.05), ray=(2.0, 0.05)))
    assert [row.concurrency for row in rows] == [1] * 3 + [8] * 3 + [32] * 3
    assert [row.server for row in rows[:3]] == ["ray", "trimtab", "plain"]


def test_every_goal_is_held_against_the_best_peer() -> None:
    found = held(
        cells(trimtab=(4.0, 0.01), plain=(9.0, 0.05), litserve=(12.0, 0.021), trimtab_int8=(2.0, 0.01))
    )
    assert found == {
        "CPU a request at 32, the best peer (plain) over ours": True,
        "p95 at 8, ours over the best peer's (litserve)": True,
        "answers a second at 1, ours over plain": True,
        "share of the engine's ceiling at 32, by CPU": True,
        "CPU a request beside a full batch of 32": True,
        "CPU a request of all threads but the model's, at 32": True,
        "CPU a request at 32, the best peer (plain, fp32) over int8": True,
    }


def test_what_is_not_held_is_said() -> None:
    found = held(cells(trimtab=(4.0, 0.01), plain=(6.0, 0.015), trimtab_int8=(3.0, 0.01)), engine_ms=2.5)
    assert not found["CPU a request at 32, the best peer (plain) over ours"]
    assert not found["p95 at 8, ours over the best peer's (plain)"]
    assert not found["share of the engine's ceiling at 32, by CPU"]
    assert not found["CPU a request beside a full batch of 32"]
    assert not found["CPU a request at 32, the best peer (plain, fp32) over int8"]


def test_without_peers_only_our_own_goals_remain() -> None:
    assert held(cells(trimtab=(4.0, 0.01))).keys() == {
        "share of the engine's ceiling at 32, by CPU",
        "CPU a request beside a full batch of 32",
        "CPU a request of all threads but the model's, at 32",
    }


def test_sections_hold_every_server_and_the_missing_ones() -> None:
    made = cells(trimtab=(4.0, 0.01), plain=(9.0, 0.05))
    text = whole(
        {"date": "today"},
        "Set-up.",
        {"ray": "no wheel"},
        [http_section(made, [EngineCell(0, 32, 3.5)])],
        ["cpu.svg"],
    )
    assert all(
        part in text for part in ("| 32 | plain |", "- ray: no wheel", "![cpu.svg](cpu.svg)", "| 32 | 3.50")
    )
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| 32 | ") and "plain" in line}
    assert widths == {14}


def test_the_loss_of_int8_is_in_points() -> None:
    lost = paired_difference(30, 10, 4000)
    text = int8_section(Int8Result(median_interval([1.8]), 4000, 0.81, 0.805, lost, 40, 0.08))
    assert "| accuracy lost, points | <= 0.5 | 0.50 [" in text
    assert "| yes |" in text


def test_figures_have_a_point_for_every_server_at_every_concurrency() -> None:
    made = figures(cells(trimtab=(4.0, 0.01), plain=(9.0, 0.05)))
    assert made.keys() == {"cpu.svg", "p95.svg"}
    for svg in made.values():
        circles = [each for each in ElementTree.fromstring(svg).iter() if each.tag.endswith("circle")]  # noqa: S314
        assert len(circles) == 2 * 3 + 2


def test_a_higher_value_stands_higher_and_names_are_escaped() -> None:
    series = [Series("a < b", (Point(0, 1.0, 0.5, 2.0), Point(1, 10.0, 9.0, 20.0)))]
    tree = ElementTree.fromstring(plot("t", series, x_label="x", y_label="y", names=("p", "q"), log=True))  # noqa: S314
    circles = [each for each in tree.iter() if each.tag.endswith("circle")]
    low, high = (float(each.attrib["cy"]) for each in circles if float(each.attrib["cx"]) < 580)
    assert high < low
    assert "a < b" in [each.text for each in tree.iter()]


def test_a_joined_plot_is_a_line_over_a_numeric_axis() -> None:
    points = tuple(Point(float(i), 500.0 + i, 500.0 + i, 500.0 + i) for i in range(200))
    svg = plot("memory", [Series("RSS", points)], x_label="swaps", y_label="MB", joined=True)
    tree = ElementTree.fromstring(svg)  # noqa: S314
    (line,) = [each for each in tree.iter() if each.tag.endswith("polyline")]
    assert len(line.attrib["points"].split()) == 200
    assert {"0", "100", "150"} <= {each.text for each in tree.iter()}


def test_nothing_to_plot_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        plot("t", [Series("a", ())], x_label="x", y_label="y")


def test_a_table_is_markdown_and_goals_say_no_loudly() -> None:
    assert table(["a", "b"], [(1, "x")]) == "| a | b |\n| --- | --- |\n| 1 | x |\n"
    assert "| w | < 1 | 2 | **no** |" in goals_table([Goal("w", "< 1", "2", held=False)])


def test_the_machine_says_what_numbers_depend_on() -> None:
    found = facts()
    assert {
        "processor",
        "instructions",
        "memory",
        "python",
        "torch",
        "load average at the start",
    } <= found.keys()
    assert all(found.values())


def test_processors_are_split_where_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 1, 2})
    assert Machine.split(1) == Machine((1,), (2, 3))
    assert Machine.split(0) == Machine.split(3) == Machine((1, 2, 3), (1, 2, 3))
