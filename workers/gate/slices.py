"""Is anybody worse off? Answers that turned wrong, over all rows and within each class, length and client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from trimtab.stats.sequential import lower_bound
from workers.gate.evidence import Rows
from workers.gate.verdict import Check, Result

MAX_FLIPS = 0.05  # share of all rows that the champion had right and the candidate has wrong
MAX_DROP = 0.08  # of the accuracy within a slice
MIN_SLICE = 50
LEVEL = 0.05  # of all slices together


@dataclass(frozen=True)
class Slice:
    """One group of rows: how many the candidate lost and gained, and the exact McNemar p-value (two-sided)."""

    name: str
    n: int
    drop: float
    p_value: float


def flips(rows: Rows, alpha: float) -> Check:
    """Fails where more than 5 % negative flips are shown (Yan et al., CVPR 2021, arXiv 2011.09161).

    The bound is Clopper and Pearson's, for weighted rows with Kish's effective number.
    """
    share = float((rows.weight * rows.lost).mean())
    effective = rows.n**2 / float((rows.weight**2).sum())
    bound = lower_bound(share * effective, effective, 1.0 - alpha)
    return Check(
        name="flips",
        result=Result.FAIL if bound > MAX_FLIPS else Result.PASS,
        value=share,
        limit=MAX_FLIPS,
        bound=bound,
        n=rows.n,
        detail=f"{share:.4f} of the gate examples turned wrong, at least {bound:.4f}",
    )


def slices(rows: Rows) -> Check:
    """Fails where a slice of 50 rows or more lost over 8 points, beyond chance (exact McNemar, Bonferroni)."""
    found = [] if rows.weights is not None else list(_slices(rows))
    if not found:
        why = "no group of 50 examples" if rows.weights is None else "not looked at: the classes are weighted"
        return Check(
            name="slices", result=Result.INSUFFICIENT, value=None, limit=MAX_DROP, n=rows.n, detail=why
        )
    worst = max(found, key=lambda each: each.drop)
    harmed = [each for each in found if each.drop > MAX_DROP and each.p_value < LEVEL / len(found)]
    named = ", ".join(f"{each.name} {-each.drop:+.3f} (p = {each.p_value:.2g})" for each in harmed or [worst])
    return Check(
        name="slices",
        result=Result.FAIL if harmed else Result.PASS,
        value=worst.drop,
        limit=MAX_DROP,
        n=worst.n,
        detail=f"{'worse' if harmed else 'worst'} of {len(found)} slices: {named}",
    )


def _slices(rows: Rows) -> Iterator[Slice]:
    for kind, groups in sorted(rows.groups.items()):
        for name in np.unique(groups[groups != ""]):
            inside = groups == name
            n = int(inside.sum())
            if n >= MIN_SLICE:
                lost, gained = int(rows.lost[inside].sum()), int(rows.gained[inside].sum())
                p_value = float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
                yield Slice(f"{kind} {name}", n, (lost - gained) / n, p_value)
