"""`python -m benchmarks.gate`: 100 bad candidates of seven kinds, good ones, and the gate's level and power.

Candidates on the demo's base and texts take about half a minute of CPU each, the simulation five. Everything is kept
in --out as it is found; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from benchmarks.gate.bad import BAD, Fate, Setting, fates
from benchmarks.gate.report import Simulated, write_report
from benchmarks.gate.simulated import Truth, promotions
from benchmarks.gate.world import FIRST, World, make_first
from trimtab.datafiles import Row
from trimtab.settings import TrainingSettings

PARTS = ("bad", "simulated")
PAST, NEW = "movie", "tweets"
MARGIN, GAIN = 0.03, 0.05
N_FIRST, N_TRAFFIC, N_FRESH = 1800, 600, 600


@dataclass(frozen=True)
class Sizes:
    """How much is run: bad candidates, good ones, draws of a cell of the simulation."""

    bad: int = 100
    good: int = 5
    draws: int = 2000
    curve: int = 200


QUICK = Sizes(bad=7, good=1, draws=40, curve=20)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs what is asked for and writes the report."""
    arguments = _parse(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sizes = QUICK if arguments.quick else Sizes()
    if "bad" in arguments.only:
        run_bad(arguments.out, real_setting(arguments.out / "services"), kinds_of(sizes))
    if "simulated" in arguments.only:
        run_simulated(arguments.out, sizes)
    about = {
        "candidates": f"all-MiniLM-L6-v2, version 1 on {PAST}, traffic of {N_TRAFFIC} labelled {NEW}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    write_report(arguments.out, known_fates(arguments.out), known_cells(arguments.out), about)
    print(arguments.out / "report.md")


def kinds_of(sizes: Sizes) -> dict[str, int]:
    """So many of each kind, the first kinds one more where it does not divide."""
    each, more = divmod(sizes.bad, len(BAD))
    return {kind: each + (i < more) for i, kind in enumerate(BAD)} | {"good": sizes.good}


def run_bad(out: Path, setting: Setting, kinds: Mapping[str, int]) -> None:
    """Makes what is not known yet, one line of JSON each."""
    for found in fates(setting, kinds, known_fates(out)):
        print(found, flush=True)
        with (out / "fates.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")


def run_simulated(out: Path, sizes: Sizes) -> None:
    """Cells at the margin, of good candidates, and the curve by what is forgotten."""
    known = {(c.what, c.n, c.discordance, c.loss, c.draws) for c in known_cells(out)}
    for what, n, discordance, loss, draws in cells(sizes):
        if (what, n, discordance, loss, draws) in known:
            continue
        new = Truth.of(1000, 0.08, -GAIN)
        seed = crc32(repr((what, n, discordance, loss)).encode())  # every cell has draws of its own
        tally = promotions(Truth.of(n, discordance, loss), new, draws, seed, whole=what == "good")
        found = Simulated(what, n, discordance, loss, draws, tally.promoted)
        print(found, tally.in_the_way, flush=True)
        with (out / "cells.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")


def cells(sizes: Sizes) -> list[tuple[str, int, float, float, int]]:
    """(what, n, discordance, true loss, draws)."""
    margin = [
        ("margin", n, d, MARGIN, sizes.draws) for n in (300, 500, 1000, 1500) for d in (0.05, 0.08, 0.15)
    ]
    good = [
        ("good", n, d, 0.0, sizes.draws) for n, d in ((1000, 0.08), (1000, 0.05), (500, 0.08), (1500, 0.08))
    ]
    curve = [
        ("curve", n, 0.08, loss / 100, sizes.curve) for n in (500, 1000, 1500) for loss in (0, 1, 2, 3, 4, 5)
    ]
    return [*margin, *good, *curve]


def known_fates(out: Path) -> list[Fate]:
    """What was found before."""
    lines = _lines(out / "fates.jsonl")
    return [Fate(**{**found, "stopped_by": tuple(found["stopped_by"])}) for found in lines]


def known_cells(out: Path) -> list[Simulated]:
    return [Simulated(**found) for found in _lines(out / "cells.jsonl")]


def real_setting(home: Path) -> Setting:
    """The demo's base and texts; version 1 is trained where it is not there."""
    from service.demo.data import cache_dir, fetch_archive, load_domains
    from service.demo.model import packaged_model

    rows = load_domains(fetch_archive(cache_dir()))
    past, new = rows[PAST], rows[NEW]
    first, fresh = past[:N_FIRST], past[N_FIRST : N_FIRST + N_FRESH]
    training = TrainingSettings(threads=int(os.environ.get("OMP_NUM_THREADS", "2")), epochs=2)
    world = World(home, str(packaged_model()), tuple(fresh), tuple(new[N_TRAFFIC : N_TRAFFIC + N_FRESH]))
    if not (home / FIRST).exists():
        make_first(world, list(first), training)
    return Setting(world, tuple(new[:N_TRAFFIC]), training, _labels(first))


def _labels(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(sorted({row.label for row in rows}))


def _lines(path: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path(".bench/gate"), help="directory of results and report"
    )
    parser.add_argument("--quick", action="store_true", help="a few of everything, to see that it runs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
