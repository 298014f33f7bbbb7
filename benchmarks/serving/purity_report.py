"""The report of the purity soak."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.serving.costs import SwapCosts
from benchmarks.serving.figures import Point, Series, plot
from benchmarks.serving.intervals import median_interval
from benchmarks.serving.markdown import Goal, facts_table, goals_table, table
from benchmarks.serving.soak import Plan, Soak, Verdict, tail_ms

_PHASE = re.compile(r'^trimtab_swap_phase_duration_seconds_(sum|count)\{phase="(\w+)"\}$')


def goals_of(found: Soak, verdict: Verdict, costs: SwapCosts) -> list[Goal]:
    """Everything that the issue promises of swaps, with what was measured."""
    rollback, follow = median_interval(found.rollback_ms), median_interval(found.follow_ms)
    slope = verdict.rss_slope
    grown = verdict.rss_mb[1] - verdict.rss_mb[0]
    return [
        Goal("requests that failed", "0", f"{verdict.n_failed} of {verdict.n}", verdict.n_failed == 0),
        Goal(
            "answers that contradict themselves or name no version", "0", str(verdict.n_contradicting),
            verdict.n_contradicting == 0,
        ),
        Goal(
            "answers further than 1e-5 from the version that they name", "0",
            f"{verdict.n_wrong}; the furthest by {verdict.largest_difference:.1e}", verdict.n_wrong == 0,
        ),
        Goal("swaps under load, observed", ">= 200", str(verdict.n_swaps), verdict.n_swaps >= 200),
        Goal(
            "p99 with swaps over without", "<= 1.5", verdict.p99_ratio.text(), verdict.p99_ratio.value <= 1.5
        ),
        Goal(
            "read, verify, build, CPU", "<= 50 ms", f"{costs.to_serve_ms:.1f} ms", costs.to_serve_ms <= 50.0
        ),
        Goal(
            "memory of a variant with q and v adapted", "<= 10 MB", f"{costs.bytes_narrow / 1e6:.1f} MB",
            costs.bytes_narrow <= 10e6,
        ),
        Goal(
            "resident memory, MB a swap", "0 within the interval, or < 5 MB in all",
            f"{slope.text(4)}; {grown:+.1f} MB", slope.low <= 0.0 <= slope.high or grown < 5.0,
        ),
        Goal(
            "local rollback, idle: from the order's answer until it serves", "< 10 ms",
            f"{follow.text(1)} ms", follow.value < 10.0,
        ),
        Goal(
            "the same with HTTP and the ledger's commit", "< 10 ms", f"{rollback.text(1)} ms", rollback.value < 10.0
        ),
        Goal(
            "the previous version's answer to one text after a rollback", "bit for bit",
            f"{'the same' if found.exact else 'not the same'} in {len(found.rollback_ms)}", found.exact,
        ),
    ]  # fmt: skip


def phases_of(metrics: Mapping[str, float]) -> dict[str, tuple[int, float]]:
    """Count and mean wall milliseconds of each phase of a swap, as the server's own metrics say."""
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        if match := _PHASE.match(name):
            found.setdefault(match[2], {})[match[1]] = value
    return {
        phase: (round(each["count"]), 1000 * each["sum"] / each["count"])
        for phase, each in found.items()
        if each.get("count")
    }


def report(
    facts: Mapping[str, str],
    plan: Plan,
    found: Soak,
    verdict: Verdict,
    costs: SwapCosts,
    pictures: Sequence[str],
) -> str:
    """The whole report as Markdown."""
    seconds = found.windows[-1].end_s - found.windows[0].start_s
    kinds = [(kind, [s for s in found.swaps if s.kind == kind]) for kind in ("promote", "rollback")]
    swaps = [
        (kind, len(each), f"{1000 * statistics.median(s.seconds for s in each):.0f}")
        for kind, each in kinds
        if each
    ]
    phases = [(name, n, f"{mean:.1f}") for name, (n, mean) in sorted(phases_of(found.metrics).items())]
    clients = (
        f"{plan.processes} client processes with {plan.tasks} requests under way each, exponential pauses of "
        f"{1000 * plan.pause_s:.0f} ms in the mean, one text or four; {verdict.n} requests with {verdict.n_items} "
        f"texts in {seconds:.0f} s; {plan.pairs} windows of {plan.window_s:g} s without swaps alternate with as many "
        f"with them. Every answer is held against transformers' own (eager, padded) for the version that it names, on "
        f"texts where every two versions differ by at least 0.01."
    )
    versions = ", ".join(f"{n}: {count}" for n, count in verdict.by_version.items())
    quiet, busy = verdict.p99_ms
    memory = (
        f"{costs.bytes_all / 1e6:.1f} MB with LoRA on every linear layer, {costs.bytes_narrow / 1e6:.1f} MB"
    )
    return "\n".join(
        [
            "# Purity soak\n",
            facts_table(facts),
            clients + "\n",
            goals_table(goals_of(found, verdict, costs)),
            f"Answers by version: {versions}.\n",
            f"p99 of all requests: {quiet:.1f} ms in windows without swaps, {busy:.1f} ms with.\n",
            "## Swaps\n",
            table(["kind", "n", "median ms from order to effect, under load"], swaps),
            "Phases by the server's own metrics (wall clock, under load; self-test and warm-up run beside serving):\n",
            table(["phase", "n", "mean ms"], phases),
            "CPU of the same steps on one idle thread (medians):\n",
            table(["step", "CPU ms"], [(step, f"{ms:.1f}") for step, ms in costs.cpu_ms.items()]),
            f"Memory of a variant beside the shared base: {memory} with query and value only.\n",
            *(f"![{name}]({name})\n" for name in pictures),
        ]
    )


def figures(found: Soak) -> dict[str, str]:
    """File name -> SVG."""
    tails = {
        name: tuple(
            Point(i, value, value, value)
            for i, window in enumerate(w for w in found.windows if w.swapping is swapping)
            if (value := tail_ms(found.seen, [window])) == value
        )
        for name, swapping in (("without swaps", False), ("with swaps", True))
    }
    memory = tuple(Point(i, s.rss_mb, s.rss_mb, s.rss_mb) for i, s in enumerate(found.swaps))
    return {
        "p99.svg": plot(
            "99th percentile of each window", [Series(name, points) for name, points in tails.items()],
            x_label="pair of windows", y_label="ms", joined=True,
        ),
        "memory.svg": plot(
            "Resident memory of the API process", [Series("RSS", memory)], x_label="swaps", y_label="MB", joined=True
        ),
    }  # fmt: skip
