"""What every version must answer: computed by transformers, eager and padded, on exported checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.peers.classifier import Classifier
from benchmarks.serving.versions import Home, export
from trimtab.features import Floats

PURE = 1e-5
APART = 1e-2


@dataclass(frozen=True)
class Golden:
    """The right answers.

    Attributes:
        texts: n probes on which every two versions differ by at least 0.01.
        labels: In the order of the columns.
        digests: By version.
        rows: By version: (n, k) probabilities.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    digests: dict[int, str]
    rows: dict[int, Floats]

    def difference(self, version: int, numbers: Sequence[int], scores: Floats) -> float:
        """max |score - golden score| of the answers (m, k) to the probes of these numbers; inf for no such version."""
        if version not in self.rows:
            return float("inf")
        return float(np.abs(scores - self.rows[version][list(numbers)]).max())

    def to_json(self) -> dict[str, Any]:
        rows = {str(n): found.tolist() for n, found in self.rows.items()}
        digests = {str(n): digest for n, digest in self.digests.items()}
        return {"texts": self.texts, "labels": self.labels, "digests": digests, "rows": rows}

    @staticmethod
    def from_json(raw: dict[str, Any]) -> Golden:
        return Golden(
            texts=tuple(raw["texts"]),
            labels=tuple(raw["labels"]),
            digests={int(n): digest for n, digest in raw["digests"].items()},
            rows={int(n): np.array(rows, dtype=np.float32) for n, rows in raw["rows"].items()},
        )


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
