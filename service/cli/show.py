"""How results are shown: a table for people, one JSON document for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

WIDE = 140  # characters of a line that goes to a file or a pipe, where no terminal says

console = Console(width=None if sys.stdout.isatty() else WIDE)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """Dataclasses, enums, tuples and sets as what JSON knows; members that are None are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        members = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: plain(member) for name, member in members.items() if member is not None}
    if isinstance(value, dict):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(member) for member in value)
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    return value.value if isinstance(value, Enum) else value


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """A table, or the sentence `empty` when there is no row."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table if table.row_count else empty)


def brief(detail: Mapping[str, Any]) -> str:
    """Members with a value, as one line."""
    return ", ".join(f"{name} {value}" for name, value in detail.items() if value not in (None, "", {}, []))


def line_of(*parts: Any) -> str:
    """What is not empty, as one line."""
    return "  ".join(str(part) for part in parts if part not in (None, ""))


def ago(at: float | None) -> str:
    """How long ago an epoch time was, for people."""
    if at is None:
        return ""
    seconds = max(0.0, time.time() - at)
    for unit_s, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


@contextmanager
def step_progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Progress of long work, told by `report(stage, step, of)`: a bar on a terminal, one line a stage elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title)
        told: set[str] = set()

        def report(stage: str, step: int, of: int) -> None:
            progress.update(task, description=f"{title}: {stage}", completed=step, total=of)
            if not console.is_terminal and stage not in told:
                told.add(stage)
                console.print(f"{title}: {stage}", highlight=False)

        yield report
