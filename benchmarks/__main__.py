"""`make bench`: how long the parts take that run per request, per check and per job. `--json FILE` writes it down.

Times are medians over repetitions on this machine, in milliseconds; compare runs of one quiet machine only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

N_FEATURES = 40
N_REFERENCE = 2000
TEXT = "The plot holds until the last minute, and the actors seem to enjoy themselves."


@dataclass(frozen=True)
class Timing:
    """One line of the report."""

    name: str
    median_ms: float
    slowest_ms: float
    repetitions: int


def measure(name: str, act: Callable[[], object], repetitions: int) -> Timing:
    """Time one action; the first, cold call is not counted."""
    act()
    times_ms = []
    for _ in range(repetitions):
        started = time.perf_counter()
        act()
        times_ms.append((time.perf_counter() - started) * 1000)
    return Timing(name, round(statistics.median(times_ms), 3), round(max(times_ms), 3), repetitions)


def drift_check() -> Iterator[Timing]:
    """One check of the monitor against three known domains, and the calibration of one of them."""
    from monitoring.calibration import calibrate
    from monitoring.detector import Detector, Windows
    from monitoring.mixture import know_domains

    random = np.random.default_rng(0)
    rows = {
        name: random.normal(size=(N_REFERENCE, N_FEATURES)).astype(np.float32) for name in ("a", "b", "c")
    }
    windows, known = Windows(), know_domains(rows)
    detector = Detector(known, windows)
    detector.take(random.normal(size=(windows.long, N_FEATURES)).astype(np.float32))
    yield measure(f"drift check, {N_FEATURES} features, 3 domains", detector.read, 20)

    def thresholds() -> object:
        return calibrate(rows["a"], known.edges, windows, 8640, ordered=False)

    yield measure(f"calibration, {N_REFERENCE} x {N_FEATURES}", thresholds, 1)


def gate_test() -> Iterator[Timing]:
    """One check of the gate with its exact power."""
    from trimtab.stats.tango import PairedCounts, non_inferiority, power

    counts = PairedCounts(n=1500, lost=60, gained=60)
    yield measure("gate check, n = 1500", lambda: non_inferiority(counts, 0.03, 0.05), 20)
    yield measure("power of it, exact", lambda: power(1500, 0.08, 0.03, 0.05), 5)


def ingest() -> Iterator[Timing]:
    """A block of samples into a fresh SQLite ledger, as one transaction."""
    from trimtab.ledger import Ledger
    from trimtab.ledger import samples as ledger_samples
    from trimtab.ledger.models import create_model
    from trimtab.samples import Sample, SampleBlock

    def sample(block: int, index: int) -> Sample:
        return Sample(
            prediction_id=f"{block}:{index}",
            model="bench",
            version=1,
            generation=1,
            text=f"{TEXT} {block} {index}",
            label="positive",
            score=0.9,
            domain=None,
            group=None,
            client="bench",
            observed_at=time.time(),
            features=(0.0,) * N_FEATURES,
        )

    with tempfile.TemporaryDirectory() as home:
        ledger = Ledger(f"sqlite:///{home}/ledger.db")
        ledger.migrate()
        with ledger.begin() as tx:
            create_model(tx, "bench", ("negative", "positive"), "none", "0" * 64)
        numbers = iter(range(1000))

        def write() -> None:
            number = next(numbers)
            block = SampleBlock(f"block-{number}", "bench", tuple(sample(number, i) for i in range(50)))
            with ledger.begin() as tx:
                ledger_samples.ingest(tx, [(f"0-{number}", block)])

        yield measure("50 samples into the ledger", write, 20)
        ledger.close()


def encoding() -> Iterator[Timing]:
    """Forward passes of the demo's base model, merged or not: a merged adapter adds nothing."""
    import torch

    from service.demo.model import packaged_model
    from trimtab.base import load_base
    from trimtab.packing import mean_pool

    base = load_base(str(packaged_model()), "cpu")

    def encode(n: int) -> None:
        tokens = base.pad(base.encode([TEXT] * n, 128))
        with torch.inference_mode():
            mean_pool(
                base.encoder(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state, tokens.mask
            )

    yield measure("MiniLM, 1 text", lambda: encode(1), 20)
    yield measure("MiniLM, 32 texts", lambda: encode(32), 5)


def main() -> None:
    """Run everything and print one line each."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the report to this file")
    arguments = parser.parse_args()
    timings = []
    for part in (drift_check, gate_test, ingest, encoding):
        for timing in part():
            timings.append(timing)
            print(
                f"{timing.name:<42} {timing.median_ms:>10.3f} ms   (slowest {timing.slowest_ms:.3f})",
                flush=True,
            )
    if arguments.json:
        machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()}
        arguments.json.write_text(
            json.dumps(machine | {"timings": [asdict(each) for each in timings]}, indent=2)
        )


if __name__ == "__main__":
    main()
