"""The probes of the purity soak and their right answers, by transformers, eager and padded, on exported checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.serving.golden import Golden
from benchmarks.serving.peers.classifier import Classifier
from benchmarks.serving.versions import Home, export
from trimtab.features import Floats

APART = 1e-2


def apart(rows: dict[int, Floats]) -> Floats:
    """(n,) the smallest difference between any two versions on each probe: max over classes, min over pairs."""
    pairs = [np.abs(a - b).max(axis=1) for a, b in combinations(rows.values(), 2)]
    return np.asarray(np.min(pairs, axis=0), dtype=np.float32)


def golden_of_home(home: Home, texts: Sequence[str], n_probes: int, folder: Path) -> Golden:
    """The golden answers of all versions to the first n texts that tell every two of them apart.

    Raises:
        ValueError: there are fewer than eight such texts; then purity could not be seen.
    """
    rows = {}
    for n, bundle in home.bundles.items():
        classify = Classifier(export(bundle, folder / f"version-{n}"))
        logits = np.concatenate(
            [classify.logits(texts[i : i + 32]).numpy() for i in range(0, len(texts), 32)]
        )
        rows[n] = bundle.probabilities(logits)
    telling = np.flatnonzero(apart(rows) >= APART)[:n_probes]
    if len(telling) < 8:
        raise ValueError(f"only {len(telling)} of {len(texts)} texts tell the versions apart")
    return Golden(
        texts=tuple(texts[i] for i in telling),
        labels=home.bundles[min(home.bundles)].labels,
        digests={n: bundle.digest for n, bundle in home.bundles.items()},
        rows={n: found[telling] for n, found in rows.items()},
    )
