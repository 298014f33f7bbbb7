"""Tables and goals of the report, from records to Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.drift.changes import CHANGES, HORIZON, Change
from benchmarks.drift.delays import UNION, Delay, delay_of
from benchmarks.drift.false_alarms import RUN_LENGTH, Condition, realised_run_length, shares
from benchmarks.drift.workers import Record

SAID = {"at_job": "right at the job", "settled": "right when the window is all new"}
MOST_KINDS = 7
OURS = ("union", "e_detector", "short", "long")


@dataclass(frozen=True)
class Goal:
    """What was aimed at, what was found; `met` is None where it was not measured. `why` bounds what was not met."""

    name: str
    found: str
    met: bool | None
    why: str = ""


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, with an empty line behind it."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def goals_table(goals: Sequence[Goal]) -> str:
    said = {True: "met", False: "**not met**", None: "not measured"}
    return markdown(
        ("goal", "found", "", "what bounds it"),
        [(goal.name, goal.found, said[goal.met], goal.why) for goal in goals],
    )


# ---------------------------------------------------------------- false alarms
def alarm_table(condition: Condition, records: Sequence[Record]) -> str:
    """Share of runs with a first alarm by T, of the union and of each arm, beside the promise."""
    by_arm = {arm: shares([each["first"][arm] for each in records], condition.horizons) for arm in OURS}
    rows = []
    for i, horizon in enumerate(condition.horizons):
        union = by_arm["union"][i]
        verdict = "kept" if union.kept else "**broken**"
        if union.share < union.low:
            verdict += ", rarer than promised"
        arms = [f"{by_arm[arm][i].share:.3f}" for arm in OURS[1:]]
        band = f"{union.low:.3f} to {union.high:.3f}"
        rows.append((f"{horizon:,}", f"{union.promised:.3f}", band, f"**{union.share:.3f}**", verdict, *arms))
    return markdown(("T", "promised", "99 % band", "Trimtab", "", *OURS[1:]), rows)


def alarm_goal(condition: Condition, records: Sequence[Record]) -> Goal:
    """At every T of the table the share of alarmed runs is not above the promise and its band."""
    name = f"false alarms, {condition.name}: at most 1 per {RUN_LENGTH:,.0f} events"
    if not records:
        return Goal(name, "", None)
    first = [each["first"]["union"] for each in records]
    broken = [each for each in shares(first, condition.horizons) if not each.kept]
    realised = realised_run_length(first, condition.n_stream)
    found = f"{len(records)} runs, 1 per {count(realised)} events"
    why = ", ".join(f"{each.share:.3f} by {each.horizon:,} ({each.high:.3f} allowed)" for each in broken)
    return Goal(name, found, not broken, why)


def rules_table(conditions: Sequence[tuple[Condition, Sequence[Record]]], river: Sequence[Record]) -> str:
    """Share of runs with a false alarm within the stream, and events a first one, by rule."""
    found: dict[str, dict[str, list[int | None]]] = {}
    for condition, records in conditions:
        found.setdefault("Trimtab (budget 1 per 10,000)", {})[condition.name] = [
            r["first"]["union"] for r in records
        ]
        for record in records:
            for rule, first in record.get("rules", {}).items():
                found.setdefault(rule, {}).setdefault(condition.name, []).append(first)
    for record in river:
        for rule, first in record["first"].items():
            found.setdefault(rule, {}).setdefault(record["condition"], []).append(first)
    judged = [condition for condition, _ in conditions]
    rows = [
        (rule, *(_falsely(by_name.get(each.name, []), each.n_stream) for each in judged))
        for rule, by_name in found.items()
    ]
    head = [f"{condition.name} ({condition.n_stream:,} events)" for condition in judged]
    return markdown(("rule", *head), rows)


def _falsely(first: Sequence[int | None], horizon: int) -> str:
    if not first:
        return "-"
    share = sum(each is not None for each in first) / len(first)
    return f"{share:.2f}, 1 per {count(realised_run_length(first, horizon))} ({len(first)} runs)"


# ---------------------------------------------------------------- delays
def delays_by_rule(change: Change, records: Sequence[Record]) -> dict[str, Delay]:
    """The delays that the records hold for a change."""
    rules = dict.fromkeys(rule for record in records for rule in record["first"][change.name])
    return {
        rule: delay_of(
            [r["first"][change.name][rule] for r in records if rule in r["first"][change.name]],
            change.horizon,
        )
        for rule in rules
    }


def delay_table(records: Sequence[Record], effects: Mapping[str, Record], layer: str) -> str:
    """Median events to the first crossing, by change and rule; the drop in accuracy and the best delay beside them."""
    rules = list(dict.fromkeys(rule for record in records for rule in record["first"][CHANGES[0].name]))
    rows = []
    for change in CHANGES:
        found = delays_by_rule(change, records)
        rows.append(
            (
                change.name,
                *_effect(effects.get(change.name), layer),
                *(delay_cell(found[rule]) for rule in rules),
            )
        )
    runs = delays_by_rule(CHANGES[0], records)
    head = [f"{rule} ({runs[rule].runs} runs)" for rule in rules]
    return markdown(("drift", "accuracy lost (balanced), points", "best possible", *head), rows)


def merged(records: Sequence[Record], more: Sequence[Record]) -> list[Record]:
    """Records of the same runs, the rules of both together; `more` may cover fewer runs."""
    by_number = [dict(each["first"]) for each in records]
    for first, extra in zip(by_number, more, strict=False):
        for name, rules in extra["first"].items():
            first[name] = first[name] | rules
    return [{"first": each} for each in by_number]


def layer_table(
    by_layer: Mapping[str, Sequence[Record]], effects: Mapping[str, Record], rule: str = UNION
) -> str:
    """One rule on the representations side by side."""
    rows = []
    for change in CHANGES:
        cells: list[str] = []
        for layer, records in by_layer.items():
            cells += [
                _effect(effects.get(change.name), layer)[1],
                delay_cell(delays_by_rule(change, records)[rule]),
            ]
        rows.append((change.name, *cells))
    head = [each for layer in by_layer for each in (f"{layer}: best possible", f"{layer}: {rule}")]
    return markdown(("drift", *head), rows)


def delay_goals(records: Sequence[Record], effects: Mapping[str, Record]) -> list[Goal]:
    """The goals that changes carry, at the equal budget."""
    goals = []
    for change in CHANGES:
        if change.goal is None:
            continue
        name = f"{change.name}: median delay at most {change.goal:,}"
        if not records:
            goals.append(Goal(name, "", None))
            continue
        found = delays_by_rule(change, records)[UNION]
        met = found.median is not None and found.median <= change.goal
        best = _effect(effects.get(change.name), "last")[1]
        why = f"a detector told the drift in advance needs about {best} events" if not met else ""
        goals.append(Goal(name, delay_cell(found), met, why))
    return goals


def delay_cell(delay: Delay) -> str:
    """Median, with the share that was found where it is not all of them."""
    median = "later" if delay.median is None else f"{delay.median:,.0f}"
    return median if delay.found == 1.0 else f"{median} ({delay.found:.2f})"


def _effect(effect: Record | None, layer: str) -> tuple[str, str]:
    if effect is None:
        return "-", "-"
    bound = effect["bound"][layer]["events"]
    return f"{effect['drop']:.1f} ({effect['balanced_drop']:.1f})", "-" if bound is None else f"{bound:,.0f}"


# ---------------------------------------------------------------- kinds and costs
def kind_table(records: Sequence[Record]) -> str:
    """By drift: the true kind, when a job would be opened, how often the kind was right, and what else was said."""
    rows = []
    for name in dict.fromkeys(record["drift"] for record in records):
        runs = [record for record in records if record["drift"] == name]
        expected, drop = runs[0]["expected"], runs[0]["drop"]
        median = delay_cell(delay_of([record["at"] for record in runs], HORIZON))
        told = [_told([record[when] for record in runs], expected) for when in SAID]
        rows.append((name, f"{drop:.1f}", expected, median, *told))
    head = ("drift", "accuracy lost, points", "kind", "events to the job", *SAID.values())
    return markdown(head, rows)


def _told(said: Sequence[str | None], expected: str) -> str:
    """How often it was right, and what was said else."""
    others = [each or "nothing" for each in said if each != expected]
    names = ", ".join(f"{each} {others.count(each)}" for each in sorted(set(others)))
    return f"{said.count(expected)}/{len(said)}" + (f" ({names})" if names else "")


def kind_goal(records: Sequence[Record]) -> Goal:
    """At least 7 of the drifts are named rightly in most of their runs, at the job."""
    name = "kind right for at least 7 of 8 drifts (in most runs)"
    if not records:
        return Goal(name, "", None)
    drifts = dict.fromkeys(record["drift"] for record in records)
    right = {when: [each for each in drifts if _mostly_right(records, each, when)] for when in SAID}
    missed = ", ".join(each for each in drifts if each not in right["at_job"])
    found = ", ".join(f"{len(right[when])} of {len(drifts)} {words}" for when, words in SAID.items())
    return Goal(name, found, len(right["at_job"]) >= MOST_KINDS, f"missed: {missed}" if missed else "")


def _mostly_right(records: Sequence[Record], drift: str, when: str) -> bool:
    return float(np.mean([r[when] == r["expected"] for r in records if r["drift"] == drift])) > 0.5


def cost_tables(by_name: Mapping[str, Record]) -> str:
    """Small costs, the interleaved comparison and river's."""
    small, turn, river = by_name["small"], by_name["interleaved"], by_name["river"]
    few = small["features"]
    first = markdown(
        ("", f"{few} features, one core"),
        [
            ("per event, CPU us (binning, blocks, e-detector)", f"{small['event_us']:.2f}"),
            ("per check, CPU us (both windows, e-detector)", f"{small['check_us']:.1f}"),
            ("state with its reference, bytes", f"{small['state_bytes']:,}"),
            *(
                (f"river {name}, per event and feature, CPU us", f"{us:.2f}")
                for name, us in river["event_us"].items()
            ),
        ],
    )
    ours = turn["cpu_ms"][OUR_CHECK]
    rows = [(name, f"{ms:,.3f}", f"{ms / ours:,.1f}") for name, ms in turn["cpu_ms"].items()]
    missing = "".join(f"\n{name} did not install and is not compared.\n" for name in turn["missing"])
    return first + "\n" + markdown(("check of 384 features", "median CPU ms", "times ours"), rows) + missing


OUR_CHECK = "Trimtab, check of both windows"
NO_RIVALS = (OUR_CHECK, "Trimtab, 50 events taken", "numpy, exact D of a whole window")


def cost_goals(by_name: Mapping[str, Record]) -> list[Goal]:
    """The goals on cost; none were measured where there are no records."""
    names = (
        "at most 10 us an event at 43 features",
        "at most 100 us a check at 43 features",
        "state of at most 1 MB",
        "384 features: at least 400 times less CPU than the best rival",
        "1,000,000 events with flat memory",
    )
    if not by_name:
        return [Goal(name, "", None) for name in names]
    small, cpu_ms = by_name["small"], by_name["interleaved"]["cpu_ms"]
    rivals = {name: ms for name, ms in cpu_ms.items() if name not in NO_RIVALS}
    best = min(rivals, key=lambda name: rivals[name])
    times = rivals[best] / cpu_ms[OUR_CHECK]
    grown, events = growth(by_name["memory"]["curve"])
    found = (
        (f"{small['event_us']:.2f} us", small["event_us"] <= 10),
        (f"{small['check_us']:.1f} us", small["check_us"] <= 100),
        (f"{small['state_bytes'] / 1e6:.2f} MB", small["state_bytes"] <= 1e6),
        (f"{times:,.0f} times ({best})", times >= 400),
        (f"{grown / 1e6:+.2f} MB over {events:,} events", grown <= FLAT_BYTES),
    )
    return [Goal(name, text, met) for name, (text, met) in zip(names, found, strict=True)]


FLAT_BYTES = 2e6


def growth(curve: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Bytes by which memory grew behind the first fifth of the run (caches fill there), and the events of the run."""
    settled = curve[len(curve) // 5]
    return curve[-1][1] - settled[1], curve[-1][0]


def count(value: float) -> str:
    """A whole number with commas; infinity is said in words."""
    return "more than seen" if math.isinf(value) else f"{value:,.0f}"


def by_name(records: Sequence[Record]) -> dict[str, Any]:
    """Records that have a name, by it."""
    return {record["name"]: record for record in records}
