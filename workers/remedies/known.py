"""A domain that comes back: a version that was accepted before may answer it better than the champion does.

"Try what you have before you train" (as Matchmaker, MLSys 2022, and RECL, NSDI 2023, do with model zoos).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trimtab.adapter import BOUND_FILES
from workers.artefact import Candidate
from workers.evaluate import Answers, Scorecard
from workers.plan import ENOUGH_FOR_KNOWN
from workers.task import Declined, Proposal, Task
from workers.workshop import LoadedVersion

NAME = "known"
MOST = 4  # versions that are tried: each has to answer the selection's texts


def propose_known(task: Task) -> Proposal | Declined:
    """The version before that is best on the selection's labels, when it beats the champion there beyond chance."""
    n = len(task.selection.texts)
    if not task.known:
        return Declined(NAME, "no other version was ever accepted")
    if n < ENOUGH_FOR_KNOWN:
        return Declined(
            NAME, f"{n} labels for choosing are too few to tell versions apart: {ENOUGH_FOR_KNOWN} are needed"
        )
    champion = _score(task, task.champion)
    scores = [_score(task, version) for version in task.known[:MOST]]
    best, score = _best(task.known, scores)
    gain, error = paired_gain(champion, score)
    if gain <= error:
        return Declined(
            NAME,
            f"version {best.n} is the best of {len(scores)}, and gains {gain:+.3f} (standard error {error:.3f})",
        )
    return Proposal(
        name=f"{NAME}:{best.n}",
        candidate=renumbered(best, task.version),
        cost=3,
        reason=f"version {best.n} answers this domain better than the champion: {gain:+.3f} on {n} labels",
        details={"version": best.n, "digest": best.digest, "gain": gain, "standard_error": error},
    )


def paired_gain(before: Scorecard, after: Scorecard) -> tuple[float, float]:
    """Difference of accuracy on the same texts, and its standard error."""
    difference = after.right.astype(np.float64) - before.right.astype(np.float64)
    return float(difference.mean()), float(difference.std()) / math.sqrt(max(before.n, 1))


def renumbered(version: LoadedVersion, number: int) -> Candidate:
    """A version's content as a candidate with a number of its own."""
    bundle = replace(version.bundle, version=number, digest="")
    return Candidate({name: version.files[name] for name in BOUND_FILES}, Answers(bundle, version.answers))


def _score(task: Task, version: LoadedVersion) -> Scorecard:
    domain = task.domain if task.named else None
    return version.answers.scorecard(task.selection.texts, task.selection.labels, domain)


def _best(versions: Sequence[LoadedVersion], scores: Sequence[Scorecard]) -> tuple[LoadedVersion, Scorecard]:
    """The newest of those with the highest accuracy."""
    return max(zip(versions, scores, strict=False), key=lambda pair: pair[1].accuracy)
