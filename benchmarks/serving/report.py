"""The report of `python -m benchmarks.serving`, computed from the raw cells alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.serving.engine import EngineResult
from benchmarks.serving.figures import Point, Series, plot
from benchmarks.serving.intervals import Estimate, median_interval, percentile, ratio_interval
from benchmarks.serving.markdown import Goal, facts_table, goals_table, table
from benchmarks.serving.over_http import Cell, EngineCell
from benchmarks.serving.precision import Int8Result

OURS, INT8 = "trimtab", "trimtab-int8"


@dataclass(frozen=True)
class Row:
    """One server at one concurrency, over all rounds.

    Attributes:
        cpu_ms, per_s, p50_ms, p95_ms: Medians over rounds.
        p99_ms: Of the answers of all rounds together.
        cpu_ratio: Its CPU over ours, median of ratios within rounds; nan for int8 against itself never occurs.
        p95_ratio, per_s_ratio: The same for the 95th percentile and for answers a second.
        beside_ms: CPU of all threads but the busiest.
        client_ms: CPU of the load generator, an answer.
        failed: Answers that were not 200.
    """

    server: str
    concurrency: int
    n: int
    failed: int
    cpu_ms: Estimate
    cpu_ratio: Estimate
    per_s: Estimate
    per_s_ratio: Estimate
    p50_ms: float
    p95_ms: Estimate
    p95_ratio: Estimate
    p99_ms: float
    beside_ms: float
    client_ms: float
    rss_mb: float


def rows_of(cells: Sequence[Cell]) -> list[Row]:
    """Every server at every concurrency, by concurrency and CPU. Cells of one round are paired with ours of it."""
    found: dict[tuple[int, str], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.round):
        found.setdefault((cell.concurrency, cell.server), []).append(cell)
    rows = [_row(group, found[concurrency, OURS]) for (concurrency, _), group in found.items()]
    return sorted(rows, key=lambda row: (row.concurrency, row.cpu_ms.value))


def _row(cells: Sequence[Cell], ours: Sequence[Cell]) -> Row:
    pairs = list(zip(cells, ours, strict=False))
    return Row(
        server=cells[0].server,
        concurrency=cells[0].concurrency,
        n=sum(cell.load.n for cell in cells),
        failed=sum(cell.load.failed for cell in cells),
        cpu_ms=median_interval([cell.cpu_ms for cell in cells]),
        cpu_ratio=ratio_interval([a.cpu_ms for a, _ in pairs], [b.cpu_ms for _, b in pairs]),
        per_s=median_interval([cell.load.per_s for cell in cells]),
        per_s_ratio=ratio_interval([b.load.per_s for _, b in pairs], [a.load.per_s for a, _ in pairs]),
        p50_ms=statistics.median(cell.load.p50_ms for cell in cells),
        p95_ms=median_interval([cell.load.p95_ms for cell in cells]),
        p95_ratio=ratio_interval([b.load.p95_ms for _, b in pairs], [a.load.p95_ms for a, _ in pairs]),
        p99_ms=percentile([each for cell in cells for each in cell.load.latencies_ms], 0.99),
        beside_ms=statistics.median(cell.beside_ms for cell in cells),
        client_ms=statistics.median(cell.load.client_cpu_s * 1000 / max(cell.load.n, 1) for cell in cells),
        rss_mb=max(cell.rss_mb for cell in cells),
    )


def http_goals(rows: Sequence[Row], engine: Sequence[EngineCell]) -> list[Goal]:
    """What issue and design promise of HTTP, for the concurrencies that were measured."""
    at = {(row.server, row.concurrency): row for row in rows}
    peers = sorted({row.server for row in rows} - {OURS, INT8})
    goals = []
    for concurrency, bound in ((32, 2.0),):
        ratios = [at[peer, concurrency] for peer in peers if (peer, concurrency) in at]
        if ratios:
            best = min(ratios, key=lambda row: row.cpu_ratio.value)
            what = f"CPU a request at {concurrency}, the best peer ({best.server}) over ours"
            goals.append(_at_least(what, best.cpu_ratio, bound))
    if ratios := [at[peer, 8] for peer in peers if (peer, 8) in at]:
        worst = max(ratios, key=lambda row: row.p95_ratio.value)
        goals.append(_at_most(f"p95 at 8, ours over the best peer's ({worst.server})", worst.p95_ratio, 0.5))
    if ("plain", 1) in at:
        goals.append(_at_least("answers a second at 1, ours over plain", at["plain", 1].per_s_ratio, 0.95))
    if (OURS, 32) in at:
        goals += engine_goals(at[OURS, 32], engine)
    if (INT8, 32) in at:
        goals += int8_goal(at, peers)
    return goals


def engine_goals(ours: Row, engine: Sequence[EngineCell]) -> list[Goal]:
    """How much of the engine's ceiling is left over HTTP, and what a request costs beside the model."""
    alone = median_interval([cell.cpu_ms for cell in engine if cell.batch == 32])
    share = alone.value / ours.cpu_ms.value
    beside = ours.cpu_ms.value - alone.value
    spread = f"{alone.low / ours.cpu_ms.high:.2f} to {alone.high / ours.cpu_ms.low:.2f}"
    return [
        Goal("share of the engine's ceiling at 32, by CPU", ">= 0.85", f"{share:.2f} ({spread})", share >= 0.85),
        Goal("CPU a request beside a full batch of 32", "<= 1 ms", f"{beside:.2f} ms", beside <= 1.0),
        Goal(
            "CPU a request of all threads but the model's, at 32", "<= 1 ms", f"{ours.beside_ms:.2f} ms",
            ours.beside_ms <= 1.0,
        ),
    ]  # fmt: skip


def int8_goal(at: Mapping[tuple[str, int], Row], peers: Sequence[str]) -> list[Goal]:
    """int8 against the best peer at 32, by CPU."""
    ours = at[INT8, 32]
    rivals = [at[peer, 32] for peer in peers if (peer, 32) in at]
    if not rivals:
        return []
    best = min(rivals, key=lambda row: row.cpu_ms.value)
    ratio = best.cpu_ms.value / ours.cpu_ms.value
    spread = f"{best.cpu_ms.low / ours.cpu_ms.high:.2f} to {best.cpu_ms.high / ours.cpu_ms.low:.2f}"
    what = f"CPU a request at 32, the best peer ({best.server}, fp32) over int8"
    return [Goal(what, ">= 3.5", f"{ratio:.2f} ({spread})", ratio >= 3.5)]


def _at_least(what: str, estimate: Estimate, bound: float) -> Goal:
    return Goal(what, f">= {bound:g}", estimate.text(), estimate.value >= bound)


def _at_most(what: str, estimate: Estimate, bound: float) -> Goal:
    return Goal(what, f"<= {bound:g}", estimate.text(), estimate.value <= bound)


def engine_section(result: EngineResult) -> str:
    """Part (a)."""
    goals = [
        _at_least("engine over eager, unsorted batches of 32, CPU", result.speedup, 2.5),
        _at_least("share of the measured sgemm limit", result.share_of_limit, 0.9),
        Goal(
            "largest difference of a logit", "<= 1e-5", f"{result.largest_difference:.1e}",
            result.largest_difference <= 1e-5,
        ),
    ]  # fmt: skip
    best = max(result.rounds[0].gflops, key=result.rounds[0].gflops.__getitem__)
    rows = [
        ("eager, padded", result.eager_per_s.text(1), ""),
        ("engine", result.engine_per_s.text(1), result.speedup.text()),
        ("limit: every operation at the best sgemm rate", result.limit_per_s.text(1), ""),
        (
            "share of the limit with every product at its own shape's best rate",
            "",
            result.share_of_shapes.text(),
        ),
        ("one text at a time, engine over eager", "", result.single_speedup.text()),
    ]
    method = (
        f"One compute thread, CPU time of the process, {len(result.rounds)} interleaved rounds; "
        f"{result.padding:.0%} of the tokens in eager's batches are padding. "
        f"Fastest product: {best} at {result.rounds[0].gflops[best]:.0f} GFLOP/s.\n"
    )
    numbers = table(["", "texts a CPU second", "over eager"], rows)
    return "\n".join(["## Engine, without HTTP\n", method, goals_table(goals), numbers])


def http_section(cells: Sequence[Cell], engine: Sequence[EngineCell]) -> str:
    """Part (b) and (d)."""
    rows = rows_of(cells)
    header = [
        "at once", "server", "CPU ms a request", "over ours", "answers/s", "p50 ms", "p95 ms", "p99 ms",
        "beside the busiest thread, CPU ms", "client CPU ms", "RSS MB", "answers", "failed",
    ]  # fmt: skip
    beside = {row: f"{row.beside_ms:.2f}" if row.server in {OURS, INT8} else "" for row in rows}
    body = [
        (
            row.concurrency, row.server, row.cpu_ms.text(), row.cpu_ratio.text(), row.per_s.text(1),
            f"{row.p50_ms:.1f}", row.p95_ms.text(1), f"{row.p99_ms:.1f}", beside[row],
            f"{row.client_ms:.2f}", f"{row.rss_mb:.0f}", row.n, row.failed,
        )
        for row in rows
    ]  # fmt: skip
    alone = [
        (batch, median_interval([cell.cpu_ms for cell in engine if cell.batch == batch]).text())
        for batch in sorted({cell.batch for cell in engine})
    ]
    n_rounds = len({cell.round for cell in cells})
    method = (
        f"Medians of {n_rounds} interleaved rounds with the interval of the median; p99 of all rounds together; "
        "RSS of a process tree counts shared pages in each process. Servers that are not measured stand still "
        "(all but Ray).\n"
    )
    return "\n".join(
        [
            "## HTTP, one text a request\n",
            method,
            goals_table(http_goals(rows, engine)),
            table(header, body),
            "The engine alone in the same rounds, on the same processor:\n",
            table(["texts a batch", "CPU ms a text"], alone),
        ]
    )


def int8_section(result: Int8Result) -> str:
    """Part (c)."""
    lost = result.accuracy_lost
    rows = [
        ("texts a CPU second, batches of 32, over fp32", result.speedup.text()),
        ("accuracy fp32, int8", f"{result.accuracy_fp32:.4f}, {result.accuracy_int8:.4f} (n = {result.n})"),
        ("answers that differ", result.n_differ),
        ("largest difference of a probability", f"{result.largest_difference:.3f}"),
    ]
    goal = Goal(
        "accuracy lost, points", "<= 0.5", f"{100 * lost.value:.2f} [{100 * lost.low:.2f}, {100 * lost.high:.2f}]",
        lost.value <= 0.005,
    )  # fmt: skip
    return "\n".join(["## int8\n", goals_table([goal]), table(["", ""], rows)])


def figures(cells: Sequence[Cell]) -> dict[str, str]:
    """File name -> SVG."""
    rows = rows_of(cells)
    names = [str(each) for each in sorted({row.concurrency for row in rows})]
    servers = sorted({row.server for row in rows}, key=lambda server: (server not in {OURS, INT8}, server))

    def series(value: str) -> list[Series]:
        made = []
        for k, server in enumerate(servers):
            offset = (k - (len(servers) - 1) / 2) * 0.09
            estimates = {str(row.concurrency): getattr(row, value) for row in rows if row.server == server}
            points = [
                Point(x + offset, e.value, e.low, e.high)
                for x, n in enumerate(names)
                if (e := estimates.get(n))
            ]
            made.append(Series(server, tuple(points)))
        return made

    label = "requests at once"
    return {
        "cpu.svg": plot(
            "CPU a request", series("cpu_ms"), x_label=label, y_label="CPU ms", names=names, log=True
        ),
        "p95.svg": plot(
            "95th percentile of latency", series("p95_ms"), x_label=label, y_label="ms", names=names, log=True
        ),
    }


def whole(
    facts: Mapping[str, str],
    setup: str,
    missing: Mapping[str, str],
    sections: Sequence[str],
    pictures: Sequence[str],
) -> str:
    """The report as Markdown."""
    left_out = [f"- {name}: {reason}" for name, reason in missing.items()]
    return "\n".join(
        [
            "# Serving benchmark\n",
            facts_table(facts),
            setup + "\n",
            *(["Peers that were asked for and are left out:\n", *left_out, ""] if left_out else []),
            *sections,
            *(f"![{name}]({name})\n" for name in pictures),
        ]
    )
