"""The purity soak: versions are swapped under load, and every single answer is checked.

Windows with and without swaps alternate, so that the tail of latencies is compared under the same load.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.serving.golden import PURE, Golden
from benchmarks.serving.intervals import Estimate, percentile, ratio_interval, slope_interval
from benchmarks.serving.own_server import serving
from benchmarks.serving.purity_client import Order, Seen
from benchmarks.serving.swapping import Operator, Swap
from benchmarks.serving.versions import Home

# The first swaps fill allocators and caches: the slope of the memory is that of the rest.
SETTLED = 0.25


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Attributes:
        pairs: Windows without and with swaps, so many of each.
        window_s: Length of a window.
        swaps: Swaps in one window.
        processes, tasks: Client processes, and how many requests each may have under way.
        pause_s: Mean of a client's exponential pauses.
        rollbacks: Rollbacks that are timed on an idle server afterwards.
    """

    pairs: int = 20
    window_s: float = 8.0
    swaps: int = 11
    processes: int = 3
    tasks: int = 4
    pause_s: float = 0.12
    rollbacks: int = 20
    seed: int = 5


@dataclass(frozen=True)
class Window:
    """A stretch of time with or without swaps, on the machine's monotonic clock."""

    swapping: bool
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Soak:
    """Everything that was seen.

    Attributes:
        rollback_ms: From the order of a rollback until the replica served it, idle, HTTP and ledger included.
        follow_ms: The part of it after the order was answered: the replica's own.
        exact: Whether the previous version's answer to a single text came back bit for bit, at every such rollback.
        metrics: Samples of /metrics at the end, less those at the start.
    """

    windows: list[Window]
    swaps: list[Swap]
    seen: list[Seen]
    rollback_ms: list[float]
    follow_ms: list[float]
    exact: bool
    metrics: dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """What the soak says.

    Attributes:
        n, n_items: Requests, and texts in them.
        n_failed: Requests that were not answered with 200.
        n_contradicting: Answers whose headers, digest and body do not agree on one version.
        n_wrong: Answers further than 1e-5 from what the version that they name must answer.
        largest_difference: Of all answers to their version's.
        n_swaps: Ordered and observed.
        by_version: Answers by the version that they name.
        p99_ms: Of all requests in windows without, and with swaps.
        p99_ratio: With over without, median of neighbouring windows.
        rss_slope: MB a swap, after the first quarter.
        rss_mb: Medians of the first and the last third of what came after the first quarter: from swap to swap it
            varies by the versions that are loaded.
    """

    n: int
    n_items: int
    n_failed: int
    n_contradicting: int
    n_wrong: int
    largest_difference: float
    n_swaps: int
    by_version: dict[int, int]
    p99_ms: tuple[float, float]
    p99_ratio: Estimate
    rss_slope: Estimate
    rss_mb: tuple[float, float]

    @property
    def pure(self) -> bool:
        return self.n > 0 and self.n_failed == self.n_contradicting == self.n_wrong == 0


def soak(home: Home, golden: Golden, plan: Plan, folder: Path) -> Soak:
    """Runs the soak on a server of its own and returns all that was seen."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "golden.json").write_text(json.dumps(golden.to_json()), encoding="utf-8")
    with serving(home.settings, "trimtab", cpus=os.sched_getaffinity(0)) as server:
        url = f"http://127.0.0.1:{server.port}"
        operator = Operator(url, home.model, sorted(home.bundles), server.roots[0], plan.seed)
        before = operator.metrics()
        with clients(plan, home.model, server.port, folder):
            windows, swaps = run_windows(operator, plan)
        rollbacks, exact = time_rollbacks(operator, golden, plan.rollbacks)
        after = operator.metrics()
        operator.close()
    seen = [
        Seen(*row) for file in outputs(folder, plan) for row in json.loads(file.read_text(encoding="utf-8"))
    ]
    changed = {name: value - before.get(name, 0.0) for name, value in after.items()}
    whole_ms = [each.seconds * 1000 for each in rollbacks]
    follow_ms = [(each.seconds - each.answered_s) * 1000 for each in rollbacks]
    return Soak(windows, swaps, seen, whole_ms, follow_ms, exact, changed)


@contextmanager
def clients(plan: Plan, model: str, port: int, folder: Path) -> Iterator[None]:
    """Client processes that ask until the context ends and have written down what they saw after it."""
    started = []
    for number, out in enumerate(outputs(folder, plan)):
        out.unlink(missing_ok=True)
        order = Order(
            port, model, plan.tasks, plan.pause_s, plan.seed + number, str(folder / "golden.json"), str(out)
        )
        argv = [sys.executable, "-m", "benchmarks.serving.purity_client", json.dumps(asdict(order))]
        started.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
        codes = [_ended(process) for process in started]
    if any(codes):
        raise RuntimeError(f"a client process ended with {codes}")


def _ended(process: subprocess.Popen[bytes]) -> int:
    with process:
        return process.wait(timeout=60)


def outputs(folder: Path, plan: Plan) -> list[Path]:
    """Where each client process writes what it saw."""
    return [folder / f"client-{number}.json" for number in range(plan.processes)]


def run_windows(operator: Operator, plan: Plan) -> tuple[list[Window], list[Swap]]:
    """Alternating windows, one without swaps first; swaps are spread evenly over theirs."""
    windows: list[Window] = []
    swaps: list[Swap] = []
    for number in range(2 * plan.pairs):
        swapping, start = number % 2 == 1, time.monotonic()
        for k in range(plan.swaps if swapping else 0):
            time.sleep(max(start + k * plan.window_s / plan.swaps - time.monotonic(), 0.0))
            swaps.append(operator.swap())
        time.sleep(max(start + plan.window_s - time.monotonic(), 0.0))
        windows.append(Window(swapping, start, time.monotonic()))
        if swapping:
            print(
                f"window {number + 1}/{2 * plan.pairs}: {len(swaps)} swaps, {swaps[-1].rss_mb:.0f} MB",
                flush=True,
            )
    return windows, swaps


def time_rollbacks(operator: Operator, golden: Golden, n: int) -> tuple[list[Swap], bool]:
    """n rollbacks on an idle server, and whether a single text's answer came back bit for bit."""
    first, second = sorted(golden.rows)[:2]
    rollbacks, exact = [], True
    for number in range(n):
        text = golden.texts[number % len(golden.texts)]
        operator.ensure(first)
        before = operator.ask(text)
        operator.promote(second)
        rollbacks.append(operator.roll_back(poll_s=0.0))
        exact = exact and operator.ask(text) == before
    return rollbacks, exact


def judge(found: Soak) -> Verdict:
    """Counts what was wrong and compares the windows."""
    good = [each for each in found.seen if each.status == 200]
    named = [each for each in good if each.version != -1]
    quiet, busy = ([w for w in found.windows if w.swapping is swapping] for swapping in (False, True))
    tails = [tail_ms(found.seen, windows) for windows in (quiet, busy)]
    settled = [each.rss_mb for each in found.swaps[int(len(found.swaps) * SETTLED) :]]
    third = max(len(settled) // 3, 1)
    return Verdict(
        n=len(found.seen),
        n_items=sum(each.n for each in found.seen),
        n_failed=len(found.seen) - len(good),
        n_contradicting=len(good) - len(named),
        n_wrong=sum(each.difference > PURE for each in named),
        largest_difference=max((each.difference for each in named), default=float("nan")),
        n_swaps=len(found.swaps),
        by_version={n: sum(each.version == n for each in named) for n in sorted({e.version for e in named})},
        p99_ms=(tails[0], tails[1]),
        p99_ratio=ratio_interval(
            [tail_ms(found.seen, [w]) for w in busy], [tail_ms(found.seen, [w]) for w in quiet]
        ),
        rss_slope=slope_interval(range(len(settled)), settled),
        rss_mb=(statistics.median(settled[:third]), statistics.median(settled[-third:])),
    )


def tail_ms(seen: Sequence[Seen], windows: Sequence[Window], share: float = 0.99) -> float:
    """The percentile of the latencies of requests that were sent in one of the windows."""
    return percentile(
        [
            each.seconds * 1000
            for window in windows
            for each in seen
            if window.start_s <= each.sent_s < window.end_s and each.status == 200
        ],
        share,
    )
