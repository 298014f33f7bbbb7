"""int8 against fp32 of the same version: speed, and what it costs in accuracy on texts that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.serving.engine import BATCH, cpu_of
from benchmarks.serving.intervals import Estimate, paired_difference, ratio_interval
from trimtab.bundle import ModelBundle, at_precision
from trimtab.datafiles import Row
from trimtab.kernels import Reducer


@dataclass(frozen=True)
class Int8Result:
    """int8 beside fp32.

    Attributes:
        speedup: CPU of fp32 over that of int8, batches of 32.
        n: Labelled texts.
        accuracy_fp32, accuracy_int8, accuracy_lost: Shares; the loss with its 95 % interval, paired.
        n_differ: Texts that get another label.
        largest_difference: Of a probability.
    """

    speedup: Estimate
    n: int
    accuracy_fp32: float
    accuracy_int8: float
    accuracy_lost: Estimate
    n_differ: int
    largest_difference: float


def measure_int8(bundle: ModelBundle, rows: Sequence[Row], n_rounds: int) -> Int8Result:
    """Both precisions on the same texts, in interleaved rounds. Raises SettingsError where int8 is not served."""
    torch.set_num_threads(1)
    base = bundle.base
    reduced = at_precision(bundle, Reducer(base.encoder, "int8", base.device))
    texts = [row.text for row in rows]
    batches = [texts[i : i + BATCH] for i in range(0, min(len(texts), 512), BATCH)]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(n_rounds):
        for each, used in zip((bundle, reduced), times, strict=True):
            used.append(cpu_of(lambda each=each: [each.predict(batch) for batch in batches]))  # type: ignore[misc]
    full, low = (each.probabilities(each.predict(texts).logits) for each in (bundle, reduced))
    truth = np.array([bundle.labels.index(row.label) for row in rows])
    right_full, right_low = full.argmax(axis=1) == truth, low.argmax(axis=1) == truth
    return Int8Result(
        speedup=ratio_interval(times[0], times[1]),
        n=len(rows),
        accuracy_fp32=float(right_full.mean()),
        accuracy_int8=float(right_low.mean()),
        accuracy_lost=paired_difference(
            int((right_full & ~right_low).sum()), int((right_low & ~right_full).sum()), len(rows)
        ),
        n_differ=int((full.argmax(axis=1) != low.argmax(axis=1)).sum()),
        largest_difference=float(np.abs(full - low).max()),
    )
