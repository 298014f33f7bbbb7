"""The report: Markdown with tables, and figures as SVG beside it, from whatever results there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.drift import tables
from benchmarks.drift.charts import Points, line_chart
from benchmarks.drift.delays import EQUAL_BUDGET, MONTHLY
from benchmarks.drift.false_alarms import CONDITIONS, RUN_LENGTH, Condition, shares
from benchmarks.drift.results import Results
from benchmarks.drift.workers import Record

NAME = "report.md"
N_POINTS = 60

ABOUT = """\
Text: the human-rated sentences of Hutto & Gilbert (ICWSM 2014) in four domains. Version 1 is trained on 1,500 movie
snippets by the real recipe; what is monitored is what it says to the other movie snippets and to the other domains.
A run has a fresh reference of 2,000 rows and a stream, disjoint parts of one shuffled pool. The detector, its windows
(500 and 2,000 events), its checks (every 50 events) and its calibration are production's.

Constructed, not found: mean shift and rotation move the pooled state (outputs follow through the head); sessions are
cut from 12 clusters of the embeddings; concept drift turns labels; the other script is transliterated. All streams but
those are real text in random order, so delays are those of independent traffic.
"""

ABOUT_DELAYS = f"""\
Checks every 50 events. Equal budgets, by calibration, for Trimtab, each arm alone and the largest D: 1 false alarm per
{EQUAL_BUDGET:,.0f} events; 1 per 30 days is {MONTHLY:,} events. The other rules are as published: their false alarms
are in the table above. In brackets the share of runs that found the change within the horizon (4,500 events; fewer for
the label mixes and 100 %); `later`: less than half of them. The e-detector was off in {{off}} of {{references}}
references. `best possible` is the delay of a detector that was told the drift in advance: log 100,000 over the KL
divergence that a logistic model of these features and their squares finds on held-out rows.
"""
ABOUT_LAYERS = """\
The model's outputs and the text statistics are the same in both; only the 32 projected features differ. Shift and
rotation move either state by the same recipe.
"""


def write_report(results: Results) -> None:
    """Writes report.md and its figures into the directory of the results."""
    parts = [
        "# Drift monitor: what it promises and what it finds\n",
        _machine(results),
        ABOUT,
        "## Goals\n",
        tables.goals_table(goals(results)),
        *_alarms(results),
        *_delays(results),
        *_kinds(results),
        *_costs(results),
        _seconds(results),
    ]
    (results.directory / NAME).write_text("\n".join(parts), encoding="utf-8")


def goals(results: Results) -> list[tables.Goal]:
    """All goals, in the order of the parts."""
    found = [tables.alarm_goal(each, results.records(step_of(each))) for each in CONDITIONS]
    found += tables.delay_goals(results.records("delay-last"), _effects(results))
    found.append(tables.kind_goal(results.records("kind")))
    return found + tables.cost_goals(tables.by_name(results.records("cost")))


def step_of(condition: Condition) -> str:
    """Name of the step that runs a condition, fit for a file."""
    return "alarms-" + "".join(c if c.isalnum() else "-" for c in condition.name)


def _machine(results: Results) -> str:
    found = ", ".join(f"{key} {value}" for key, value in results.machine().items())
    old = ", ".join(results.outdated())
    warning = f"\n**Measured on other code than the rest, run them again: {old}.**\n" if old else ""
    return f"Measured on: {found or 'nothing yet'}. Run k of a part draws from seed [part, k].\n{warning}"


def _alarms(results: Results) -> list[str]:
    done = [(condition, results.records(step_of(condition))) for condition in CONDITIONS]
    done = [(condition, records) for condition, records in done if records]
    if not done:
        return []
    parts = [f"## False alarms, 1 promised per {RUN_LENGTH:,.0f} events\n"]
    for condition, records in done:
        parts += [f"### {condition.name}\n", _calibration(records), tables.alarm_table(condition, records)]
    parts.append(
        "### The peers' rules on the same streams: share of streams with a false alarm, and how often\n"
    )
    parts.append(tables.rules_table(done, results.records("alarms-river")))
    chart = "false-alarms.svg"
    (results.directory / chart).write_text(_alarm_chart(done), encoding="utf-8")
    return [*parts, f"![share of runs with a first false alarm]({chart})\n"]


def _calibration(records: Sequence[Record]) -> str:
    cpu_s = sum(each["calibration_cpu_s"] for each in records) / len(records)
    lengths = sorted(each["block_length"] for each in records)
    off = sum(each["e_detector_off"] for each in records) / len(records)
    return (
        f"{len(records)} runs; a calibration took {cpu_s:.2f} s of CPU; it drew stretches of {lengths[0]} to "
        f"{lengths[-1]} events (median {lengths[len(lengths) // 2]}), extrapolated by a factor of "
        f"{records[0]['extrapolation']:.2f}, and switched the e-detector off in {off:.0%} of the runs.\n"
    )


def _alarm_chart(done: Sequence[tuple[Condition, Sequence[Record]]]) -> str:
    lines: dict[str, Points] = {}
    last = max(condition.n_stream for condition, _ in done)
    for condition, records in done:
        horizons = [condition.n_stream * i // N_POINTS for i in range(N_POINTS + 1)]
        first = [each["first"]["union"] for each in records]
        lines[condition.name] = [(each.horizon, each.share) for each in shares(first, horizons)]
    grid = [last * i / N_POINTS for i in range(N_POINTS + 1)]
    lines["promised: at most this"] = [(t, 1 - math.exp(-t / RUN_LENGTH)) for t in grid]
    return line_chart("Runs with a first false alarm by T", "T, events", "share", lines)


def _delays(results: Results) -> list[str]:
    records, effects = results.records("delay-last"), _effects(results)
    if not records:
        return []
    both = tables.merged(records, results.records("delay-river"))
    off = sum(each["e_detector_off"] for each in records)
    parts = [
        "## Median events to the first threshold crossing\n",
        ABOUT_DELAYS.format(off=off, references=len(records)),
        tables.delay_table(both, effects, "last"),
    ]
    by_layer = {"last": records, "embedding": results.records("delay-embedding")}
    if by_layer["embedding"]:
        parts += [
            "### Last hidden state or embedding layer\n",
            ABOUT_LAYERS,
            tables.layer_table(by_layer, effects),
        ]
    return parts


def _kinds(results: Results) -> list[str]:
    records = results.records("kind")
    if not records:
        return []
    words = (
        "At the moment that a job would be opened, at production's budget (1 per 30 days), when part of the window may "
        "still be from before the change; and when the short window holds only what came after it.\n"
    )
    return ["## Kind of drift\n", words, tables.kind_table(records)]


def _costs(results: Results) -> list[str]:
    found = tables.by_name(results.records("cost"))
    if not found:
        return []
    memory, chart = found["memory"]["curve"], "memory.svg"
    lines = {"resident memory": [(seen, rss / 1e6) for seen, rss in memory]}
    drawn = line_chart("Resident memory of a monitoring process", "events", "MB", lines)
    (results.directory / chart).write_text(drawn, encoding="utf-8")
    turn = found["interleaved"]
    versions = ", ".join(f"{name} {version}" for name, version in turn["versions"].items())
    words = (
        f"CPU time of one process with one thread. 384 features: everyone in turn, {turn['rounds']} rounds, reference "
        f"2,000, window 500 ({versions}). Ours keeps counts as events come, so a check only reads them; taking the 50 "
        "events of a check has its own line.\n"
    )
    return ["## Cost\n", words, tables.cost_tables(found), f"![resident memory]({chart})\n"]


def _seconds(results: Results) -> str:
    seconds = results.seconds()
    rows = [(name, f"{spent:,.0f}") for name, spent in seconds.items()]
    return "## Time\n\n" + tables.markdown(
        ("step", "wall s"), [*rows, ("all", f"{sum(seconds.values()):,.0f}")]
    )


def _effects(results: Results) -> dict[str, Record]:
    return tables.by_name(results.records("effects"))


def shortened(condition: Condition, runs: int) -> Condition:
    """The same condition with fewer runs."""
    return replace(condition, runs=runs, judged_by_peers=min(runs, condition.judged_by_peers))
