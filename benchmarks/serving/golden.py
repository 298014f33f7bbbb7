"""What every version must answer to the probes, and how far an answer is from it. Light: every client imports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.features import Floats

PURE = 1e-5


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
