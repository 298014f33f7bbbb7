"""`python -m benchmarks.serving.purity --out DIR`: versions swapped under load, every answer checked; a report.

Three versions of the demo's model, trained shortly on different domains, are promoted and rolled back through the admin
API while client processes ask. About eight minutes; `--pairs 4 --window 3` for a short one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.serving.costs import measure_costs
from benchmarks.serving.machine import facts
from benchmarks.serving.probes import golden_of_home
from benchmarks.serving.purity_report import figures, report
from benchmarks.serving.soak import Plan, judge, soak
from benchmarks.serving.texts import rated_rows
from benchmarks.serving.versions import make_home, settings_of

VERSIONS = (("movie", 320), ("tweets", 320), ("amazon", 320))
N_CANDIDATES, N_PROBES = 300, 64


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    usual = Plan()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.purity", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="directory of the report, figures and raw numbers"
    )
    parser.add_argument("--pairs", type=int, default=usual.pairs, help="windows with and without swaps")
    parser.add_argument("--window", type=float, default=usual.window_s, help="seconds of a window")
    parser.add_argument("--swaps", type=int, default=usual.swaps, help="swaps in a window")
    parser.add_argument("--processes", type=int, default=usual.processes, help="client processes")
    parser.add_argument("--tasks", type=int, default=usual.tasks, help="requests under way in each")
    parser.add_argument("--pause-ms", type=float, default=1000 * usual.pause_s, help="mean pause of a client")
    parser.add_argument("--seed", type=int, default=usual.seed)
    return parser.parse_args(arguments)


def plan_of(options: argparse.Namespace) -> Plan:
    return Plan(
        pairs=options.pairs,
        window_s=options.window,
        swaps=options.swaps,
        processes=options.processes,
        tasks=options.tasks,
        pause_s=options.pause_ms / 1000,
        seed=options.seed,
    )


def main() -> None:
    options = parse()
    out, plan = options.out.absolute(), plan_of(options)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    before = facts()
    rows = rated_rows()
    home = make_home(settings_of(out / "purity-home"), rows, VERSIONS)
    golden = golden_of_home(home, [row.text for row in rows[:N_CANDIDATES]], N_PROBES, out)
    print(f"{len(golden.texts)} probes; {2 * plan.pairs} windows of {plan.window_s:g} s", flush=True)
    found = soak(home, golden, plan, out)
    verdict, costs = judge(found), measure_costs(home)
    pictures = figures(found)
    text = report(before, plan, found, verdict, costs, list(pictures))
    raw: dict[str, object] = {
        "machine": before,
        "plan": asdict(plan),
        "verdict": asdict(verdict),
        "costs": asdict(costs),
    }
    raw |= {
        "costs": asdict(costs),
        "windows": [asdict(each) for each in found.windows],
        "swaps": [asdict(each) for each in found.swaps],
    }
    raw |= {"rollback_ms": found.rollback_ms, "follow_ms": found.follow_ms, "metrics": found.metrics}
    for name, content in {**pictures, "purity.md": text, "purity.json": json.dumps(raw)}.items():
        (out / name).write_text(content, encoding="utf-8")
    print(text)
    raise SystemExit(0 if verdict.pure else 1)


if __name__ == "__main__":
    main()
