"""`make bench-drift`: false alarms, delays, representations, kinds and cost of the drift monitor, beside its peers.

Results lie in --out, one JSON file a step; a step whose results are there is not run again (--fresh runs it).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.drift import river
from benchmarks.drift.corpus import CACHE, load_corpus
from benchmarks.drift.costs import run_costs
from benchmarks.drift.delays import run_delays, run_effects
from benchmarks.drift.false_alarms import CONDITIONS, run_condition
from benchmarks.drift.kinds import run_kinds
from benchmarks.drift.report import NAME, goals, shortened, step_of, write_report
from benchmarks.drift.results import Results, Step

PARTS = ("alarms", "delay", "layers", "kind", "cost")


@dataclass(frozen=True)
class Sizes:
    """How much is run; `alarms` None: as many runs as each condition says."""

    alarms: int | None = None
    river_alarms: int = 10
    delays: int = 60
    delays_by_peers: int = 30
    river_delays: int = 8
    kinds: int = 20
    repeats: int = 2000
    rounds: int = 5
    events: int = 1_000_000


QUICK = Sizes(
    alarms=4, river_alarms=2, delays=2, delays_by_peers=1, river_delays=1, kinds=2, repeats=100, rounds=1,
    events=100_000,
)  # fmt: skip


def steps(part: str, sizes: Sizes, cached: Path) -> list[Step]:
    """The steps of a part, in order."""
    match part:
        case "alarms":
            return _alarms(sizes, cached)
        case "delay":
            runs, by_peers = sizes.delays, sizes.delays_by_peers
            return [
                Step("effects", {}, partial(run_effects, cached)),
                Step(
                    "delay-last",
                    {"runs": runs, "by_peers": by_peers},
                    partial(run_delays, "last", runs, by_peers, cached),
                ),
                Step(
                    "delay-river",
                    {"runs": sizes.river_delays},
                    partial(river.run_delays, cached, sizes.river_delays),
                ),
            ]
        case "layers":
            make = partial(run_delays, "embedding", sizes.delays, 0, cached)
            return [Step("delay-embedding", {"runs": sizes.delays}, make)]
        case "kind":
            return [Step("kind", {"runs": sizes.kinds}, partial(run_kinds, sizes.kinds, cached))]
        case _:
            plan = {"repeats": sizes.repeats, "rounds": sizes.rounds, "events": sizes.events}
            return [Step("cost", plan, partial(run_costs, cached, **plan))]


def _alarms(sizes: Sizes, cached: Path) -> list[Step]:
    conditions = [each if sizes.alarms is None else shortened(each, sizes.alarms) for each in CONDITIONS]
    found = [Step(step_of(each), asdict(each), partial(run_condition, each, cached)) for each in conditions]
    by_river = partial(river.run_alarms, cached, sizes.river_alarms)
    return [*found, Step("alarms-river", {"runs": sizes.river_alarms}, by_river)]


def main() -> None:
    """Runs what is asked for and writes the report; exit code 0 also when a goal is not met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--out", type=Path, help="directory of the results and the report")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, by comma: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a few runs of everything, to see that it works")
    parser.add_argument("--fresh", action="store_true", help="run again what is there")
    asked = parser.parse_args()
    parts = asked.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    results = Results(asked.out or CACHE / ("quick" if asked.quick else "drift"))
    results.directory.mkdir(parents=True, exist_ok=True)
    load_corpus(CACHE)
    for step in [step for part in parts for step in steps(part, QUICK if asked.quick else Sizes(), CACHE)]:
        results.finish(step, fresh=asked.fresh)
        write_report(results)
    for goal in goals(results):
        print(
            f"{ {True: 'met', False: 'NOT MET', None: '-'}[goal.met]:>8}  {goal.name}: {goal.found} {goal.why}"
        )
    print(f"report: {results.directory / NAME}")


if __name__ == "__main__":
    main()
