"""`make bench-adaptation`: what adaptation learns and forgets on a stream of real text, beside other methods.

Every version that is made is a cell in --out; what is there is not made again, so a run may be stopped at any time,
and several may work on one directory. Complete seeds come first. The report is written after every chain from the
cells that are there, and alone with --report.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# Before torch is loaded: one thread a process, none that spins while it waits, and few kernels kept by shape.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = "64"

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch

from benchmarks.adaptation.cells import Cells
from benchmarks.adaptation.data import Study
from benchmarks.adaptation.methods import METHODS
from benchmarks.adaptation.report import MISSING, NAME, write_report
from benchmarks.adaptation.results import Results
from benchmarks.adaptation.stream import Runner, Seed
from benchmarks.serving.environments import PeerMissing
from service.demo.data import LABELS, cache_dir, fetch_archive, load_domains
from service.demo.model import packaged_model

OUT = Path(".bench/adaptation")
JOINT = "joint"
BY_NAME = {method.name: method for method in METHODS}
# In the order of importance; joint training after the plan, which is held against it.
NAMES = (METHODS[0].name, JOINT, *(method.name for method in METHODS[1:]))


@dataclass(frozen=True)
class Work:
    """A chain to be made; joint training has no order."""

    method: str
    seed: int
    order: tuple[str, ...] = ()


def real_study() -> Study:
    """S1: movie, then tweets, amazon and nyt, and the same backwards."""
    rows = load_domains(fetch_archive(cache_dir()))
    return Study(rows=rows, labels=LABELS, base=str(packaged_model()))


def works(study: Study, seeds: int, names: Sequence[str]) -> Iterator[Work]:
    """Everything of the first seed, then of the second, and so on."""
    for seed in range(seeds):
        for name in names:
            if name == JOINT:
                yield Work(name, seed)
                continue
            orders = study.orders[:1] if BY_NAME[name].unlabelled_only else study.orders
            yield from (Work(name, seed, order) for order in orders)


def make(runner: Runner, work: Work) -> float:
    """Makes what is missing of a chain; returns the seconds that it took. A peer that cannot be had is noted."""
    started, seed = time.monotonic(), Seed(runner.study, work.seed)
    try:
        if work.method == JOINT:
            runner.joint(seed)
        else:
            runner.chain(seed, BY_NAME[work.method], work.order)
    except PeerMissing as error:
        (runner.cells.directory / MISSING).write_text(f"{error}\n", encoding="utf-8")
    return time.monotonic() - started


def make_alone(directory: Path, work: Work) -> float:
    """The same in a process of a pool."""
    torch.set_num_threads(1)
    return make(Runner(Cells(directory), real_study()), work)


def run(directory: Path, study: Study, todo: Sequence[Work], processes: int) -> Iterator[tuple[Work, float]]:
    """Makes the chains, in their order where there is one process."""
    if processes == 1:
        runner = Runner(Cells(directory), study)
        yield from ((work, make(runner, work)) for work in todo)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = [(work, pool.submit(make_alone, directory, work)) for work in todo]
        yield from ((work, future.result()) for work, future in futures)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptation", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="directory of the cells and the report")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", default=",".join(NAMES), help="separated by commas")
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--report", action="store_true", help="only write the report of what is there")
    options = parser.parse_args(arguments)
    if unknown := set(options.methods.split(",")) - set(NAMES):
        parser.error(f"no such method: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    study = real_study()
    results = Results(Cells(options.out), study, options.seeds)
    todo = [] if options.report else list(works(study, options.seeds, options.methods.split(",")))
    for work, seconds in run(options.out, study, todo, options.workers):
        at = time.strftime("%H:%M:%S")
        print(f"{at} seed {work.seed} {work.method} {' '.join(work.order)}: {seconds:.0f} s", flush=True)
        if seconds > 1.0:
            write_report(results)
    print(write_report(results))
    print(f"report: {options.out / NAME}")


if __name__ == "__main__":
    main()
