"""Is the candidate sound as an artefact, and is its change of the weights like those that were accepted before?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from workers.gate.evidence import Evidence, Update
from workers.gate.verdict import Check, Result, passed

MAX_PARITY = 1e-4  # largest difference of logits, merged against unmerged, fp32
MAX_DELTA_NORM = 0.5  # ||s B A||_F / ||W||_F of any layer
MIN_ACCEPTED = 4  # changes that a new one is compared with at least
MADS = 3.0
# Spread that is taken at least: changes of one recipe are so alike that every other would be an outlier.
MIN_LOG_SPREAD, MIN_COSINE_SPREAD = 0.25, 0.1
NORMAL_MAD = 1.4826  # standard deviations of a normal distribution in its median absolute deviation


def integrity(evidence: Evidence) -> Check:
    """The files hold what they should, every weight is finite, and no layer ran away."""
    layer, largest = max(evidence.delta_norms.items(), key=lambda item: item[1], default=("", 0.0))
    finite = bool(np.isfinite(list(evidence.delta_norms.values())).all())
    detail = f"largest relative change of a layer: {layer}" if finite else "a weight is not finite"
    return Check(
        name="integrity",
        result=passed(finite and largest <= MAX_DELTA_NORM and not evidence.problems),
        value=largest if finite else None,
        limit=MAX_DELTA_NORM,
        detail="; ".join([*evidence.problems, detail]),
    )


def parity(evidence: Evidence) -> Check:
    """The merged model answers like base and adapter apart."""
    return Check(
        name="parity",
        result=passed(evidence.parity <= MAX_PARITY),
        value=evidence.parity if np.isfinite(evidence.parity) else None,
        limit=MAX_PARITY,
        n=evidence.n_parity,
        detail="largest difference of logits, merged against unmerged",
    )


def update(change: Update) -> Check:
    """An outlier among accepted changes: far larger than they are, or against their direction (3 MAD, median)."""
    n = len(change.accepted_norms)
    if n < MIN_ACCEPTED or change.norm == 0.0:
        why = (
            "the encoder is unchanged, or as it was accepted once"
            if change.norm == 0.0
            else f"{n} accepted changes to compare with"
        )
        return Check(
            name="update",
            result=Result.PASS,
            value=change.norm,
            limit=change.norm,
            n=n,
            detail=f"not held: {why}",
        )
    largest = math.exp(_edge([math.log(each) for each in change.accepted_norms], MIN_LOG_SPREAD))
    lowest = -_edge([-each for each in change.accepted_cosines], MIN_COSINE_SPREAD)
    return Check(
        name="update",
        result=passed(change.norm <= largest and change.cosine >= lowest),
        value=change.norm,
        limit=largest,
        n=n,
        detail=f"norm {change.norm:.3g}, at most {largest:.3g} of the accepted; "
        f"cosine {change.cosine:+.2f}, at least {lowest:+.2f}",
    )


def _edge(values: Sequence[float], min_spread: float) -> float:
    """Median + 3 MAD (in standard deviations of a normal distribution)."""
    middle = float(np.median(values))
    spread = NORMAL_MAD * float(np.median(np.abs(np.asarray(values) - middle)))
    return middle + MADS * max(spread, min_spread)
