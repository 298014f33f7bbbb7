"""Pieces of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """Something that was promised: what, the bound in words, what was measured, and whether it holds."""

    what: str
    bound: str
    measured: str
    held: bool


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers are given as they shall be shown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines) + "\n"


def facts_table(facts: Mapping[str, str]) -> str:
    return table(["", ""], list(facts.items()))


def goals_table(goals: Sequence[Goal]) -> str:
    """Every goal with a yes or a no, none left out."""
    rows = [(goal.what, goal.bound, goal.measured, "yes" if goal.held else "**no**") for goal in goals]
    return table(["goal", "bound", "measured (95 % interval)", "held"], rows)
