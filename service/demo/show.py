"""What the demo shows while it runs and at the end."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.demo.data import CITATION
from service.demo.measured import Measured
from service.demo.plots import draw_plots
from service.demo.promises import Promise, as_rows
from service.demo.shortened import changes_of
from service.demo.watch import View, differences
from trimtab.settings import Settings

WIDE = 140  # characters of a line that goes to a file or a pipe, where no terminal says

console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def line(text: str) -> None:
    """One line for people."""
    console.print(text, markup=False, soft_wrap=True)


class Screen:
    """Live progress on a terminal; elsewhere one line for every change."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._last = View()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def chapter(self, name: str, n_events: int) -> Iterator[Callable[[View], None]]:
        """A stretch of traffic; call what you get after every event, with the newest view."""
        line(f"{name}: up to {n_events} events")
        task = self._progress.add_task(name, total=n_events)

        def after_event(view: View) -> None:
            self.news(view)
            self._progress.update(task, advance=1, description=f"{name}  {_standing(view)}")

        try:
            yield after_event
        finally:
            self._progress.remove_task(task)

    def news(self, view: View) -> None:
        """Say what changed since the last time."""
        for sentence in differences(self._last, view):
            line(f"  {view.events_seen:>6} events  {sentence}")
        self._last = view


def opening(measured: Measured, base: Path, settings: Settings) -> None:
    """What will be run, on what, and what is shortened."""
    line(f"Base model: {base.parent.name} (all-MiniLM-L6-v2). Text: {CITATION}.")
    line(f"Seed {measured.seed}, {os.cpu_count()} cores, home {settings.home}")
    _table(
        "Row budget: no row is used twice",
        ("domain", "init", "stream", "test (never traffic)"),
        [(name, part["init"], part["stream"], part["test"]) for name, part in measured.budget.items()],
    )
    _table(
        "Changed for the demo",
        ("setting", "default", "here", "why"),
        [
            (change.key, change.default, change.value, change.reason)
            for change in changes_of(full=measured.full)
        ],
    )


def scorecard(measured: Measured, promises: Sequence[Promise]) -> None:
    """Plots, accuracies, the gate's checks, times, and every promise."""
    for plot in draw_plots(measured, width=min(console.width, 110)):
        line(plot)
    _table(
        "Versions on test rows that were never traffic",
        ("version", "domain", "rows", "balanced accuracy", "accuracy"),
        [(a.version, a.domain, a.n, f"{a.balanced:.3f}", f"{a.plain:.3f}") for a in measured.accuracies],
    )
    for domain, job in measured.jobs.items():
        _gate_table(domain, job)
    seconds = ", ".join(f"{stage} {spent:.0f} s" for stage, spent in measured.seconds.items())
    line(f"Times: {seconds}")
    _table(
        "Promises",
        ("", "promise", "measured", "required"),
        [("held" if p.held else "BROKEN", p.name, p.measured, p.required) for p in promises],
    )


def as_document(measured: Measured, promises: Sequence[Promise]) -> dict[str, Any]:
    """Everything measured, as JSON has it."""
    return {
        "held": all(promise.held for promise in promises),
        "promises": as_rows(promises),
        "seed": measured.seed,
        "full": measured.full,
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "seconds": measured.seconds,
        "shortened": [
            {"setting": c.key, "default": c.default, "value": c.value, "reason": c.reason}
            for c in changes_of(full=measured.full)
        ],
        "budget": measured.budget,
        "in_domain": {
            "events": measured.in_domain_events,
            "alarms": measured.in_domain_alarms,
            "checks_above_a_threshold": measured.in_domain_crossings,
        },
        "detected_after_events": measured.detected_after,
        "return": {"events": measured.return_events, "jobs": measured.jobs_on_return},
        "answers": {
            "all": measured.n_answers,
            "failed": len(measured.failures),
            "failures": measured.failures[:20],
        },
        "swap": None if measured.purity is None else asdict(measured.purity),
        "accuracies": [asdict(accuracy) for accuracy in measured.accuracies],
        "rollback": None if measured.rollback is None else asdict(measured.rollback),
        "jobs": measured.jobs,
        "segments": measured.segments,
        "reports": [_without_features(report) for report in measured.reports],
        "stop": {"exit_code": measured.exit_code, "left_over": measured.left_over},
    }


def _standing(view: View) -> str:
    job = view.job
    words = f"v{view.champion} {view.state} {view.ratio:.2f}"
    if job is None or job["finished_at"] is not None:
        return words
    progress = job.get("progress") or {}
    missing = ", ".join(f"{n} {part}" for part, n in (job.get("missing") or {}).items() if n)
    doing = (
        f"{progress.get('stage', '')} {progress.get('step', '')}/{progress.get('of', '')}"
        if progress
        else missing
    )
    return f"{words} | job {job['status']} {doing}"


def _gate_table(domain: str, job: dict[str, Any]) -> None:
    checks = (job.get("verdict") or {}).get("checks", [])
    rows = [
        (
            c["name"],
            c["result"],
            *(_number(c[key]) for key in ("value", "bound", "limit")),
            c["n"],
            _number(c["power"]),
        )
        for c in checks
    ]
    title = f"The gate on {domain}: {job['status']} ({job['reason']})"
    _table(title, ("check", "result", "value", "bound", "limit", "n", "power"), rows)


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.4g}"


def _without_features(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != "features"}


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)
