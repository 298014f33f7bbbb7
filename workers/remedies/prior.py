"""Prior correction: the classes come in other shares, each looks as it did; no training, no labels of the window.

1. BBSE tells from the predicted labels whether the shares moved at all (trimtab.stats.label_shift).
2. Guard: it is a label shift only if, given the predicted label, the features are those of the reference with its
   rows weighted by q(y) / p(y). Else a covariate shift moved the predictions, and the correction would add harm.
3. The reference's labelled rows calibrate the champion (BCTS), then EM finds the shares under which the window is most
   likely. EM after BCTS beats BBSE where it was measured: Alexandari et al., ICML 2020 (arXiv 1901.06852).
4. q is shrunk towards p by n / (n + 50 k), and the version answers softmax(z / T + b + log(q / p)).
Everything is read off feature rows that serving has made: no text is asked again.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import kstwobign

from trimtab.adapter import REFERENCES
from trimtab.features import MAX_LABEL_FEATURES, Floats, References
from trimtab.stats.label_shift import (
    MIN_REFERENCE,
    Doubles,
    Integers,
    LabelShift,
    estimate_label_shift,
    joint_confusion,
    maximise_prior,
)
from workers.remedies.temperature import fit_bcts
from workers.remedies.variants import with_remedy
from workers.task import Declined, Proposal, Task

NAME = "prior"
MIN_WINDOW = 100  # predictions
MIN_PER_CLASS = 10  # labelled reference rows: else a class's bias would be a guess
SHRINK_PER_CLASS = 50
LEAST_SHARE = 1e-3  # of a class, so that no label can ever be ruled out
GUARD_ALPHA = 0.01
GUARD_EFFECT = 0.1  # a D below it is no change that matters
MIN_GUARD_ROWS = 20


@dataclass(frozen=True)
class Labelled:
    """Reference rows of one domain with their truth: (n, d) rows, (n, k) log probabilities, (n,) labels."""

    domain: str
    rows: Floats
    log_probs: Doubles
    truth: Integers

    @property
    def predicted(self) -> Integers:
        """(n,) likeliest labels before any remedy."""
        return np.asarray(self.log_probs.argmax(axis=1), dtype=np.int64)


@dataclass(frozen=True)
class Shifted:
    """What BBSE and EM make of a window held against one reference; arrays are (k,)."""

    reference: Labelled
    by_bbse: LabelShift
    by_em: Doubles
    moved: float  # largest D over its critical value, of features given the predicted label; above 1: more than shares
    temperature: float
    bias: Doubles


def propose_prior(task: Task) -> Proposal | Declined:
    """The champion corrected to the window's shares of the classes, or without a correction that is over."""
    k = len(task.labels)
    if k > MAX_LABEL_FEATURES:
        return Declined(NAME, f"feature rows hold {MAX_LABEL_FEATURES} of the {k} labels' probabilities")
    references = References.from_bytes(task.champion.files[REFERENCES])
    rows = window_rows(task, references)
    if len(rows) < MIN_WINDOW:
        return Declined(NAME, f"a window of {len(rows)} predictions is too small: {MIN_WINDOW} are needed")
    labelled = labelled_references(references, k, task.held_out)
    known = [each for each in labelled if each.domain not in task.shifted]
    columns = label_columns(references, k)
    found = [each for each in (hold_against(one, rows, columns) for one in known) if each is not None]
    if not found:
        return Declined(
            NAME, "no reference has enough labelled rows of every class that the model tells apart"
        )
    best = min(found, key=lambda each: each.moved)
    if best.moved > 1.0:
        return Declined(
            NAME,
            f"given the predicted label the features moved too ({best.moved:.1f} times the critical "
            f"distance to {best.reference.domain!r}): more changed than the classes' shares",
        )
    return _corrected(task, best, len(rows))


def _corrected(task: Task, best: Shifted, n: int) -> Proposal | Declined:
    remedy = task.champion.bundle.remedy
    shift = best.by_bbse
    if shift.total_variation <= shift.noise:
        if remedy.log_prior is None:
            return Declined(
                NAME, f"the classes' shares are as before (moved {shift.total_variation:.3f}: noise)"
            )
        candidate = with_remedy(task, replace(remedy, log_prior=None))
        return Proposal(
            name=NAME, candidate=candidate, cost=0,
            reason="the classes' shares are back: the correction is dropped",
            details=_details(best, shift.before) | {"dropped": True},
        )  # fmt: skip
    if task.only_drop:
        return Declined(
            NAME,
            f"the classes' shares are not those of before (moved {shift.total_variation:.3f}, noise "
            f"{shift.noise:.3f}): the correction may only be dropped",
        )
    after = shrunk(shift.before, best.by_em, n)
    log_prior = best.bias + np.log(after / np.maximum(shift.before, LEAST_SHARE))
    corrected = replace(remedy, temperature=best.temperature, log_prior=tuple(map(float, log_prior)))
    shares = ", ".join(
        f"{label} {p:.0%} to {q:.0%}" for label, p, q in zip(task.labels, shift.before, after, strict=True)
    )
    return Proposal(
        name=NAME,
        candidate=with_remedy(task, corrected),
        cost=0,
        reason=f"only the classes' shares moved ({shares}), by {n} predictions",
        details=_details(best, after),
    )


def _details(best: Shifted, after: Doubles) -> dict[str, object]:
    return {
        "prior_before": best.by_bbse.before.tolist(),
        "prior_after": after.tolist(),
        "bbse": best.by_bbse.after.tolist(),
        "em": best.by_em.tolist(),
        "total_variation": best.by_bbse.total_variation,
        "noise": best.by_bbse.noise,
        "moved": best.moved,
        "reference": best.reference.domain,
    }


def window_rows(task: Task, references: References) -> Floats:
    """(n, d) feature rows of the window; the texts are asked only where the task has no rows."""
    if task.window is not None:
        return task.window
    texts = tuple(dict.fromkeys(task.window_texts))
    if not texts:
        return np.empty((0, len(references.feature_map.names)), dtype=np.float32)
    return references.feature_map.rows(task.champion.answers.outputs(texts), texts)


def label_columns(references: References, k: int) -> slice:
    """Where the log probabilities of the k labels stand in a feature row."""
    first = len(references.feature_map.components)
    return slice(first, first + k)


def labelled_references(references: References, k: int, held_out: AbstractSet[str]) -> list[Labelled]:
    """The labelled rows of every domain, without those of gate sets: their truth is not to be learnt from."""
    columns = label_columns(references, k)
    found = []
    for domain, truth in references.truth.items():
        keys = references.keys.get(domain, ())
        free = np.array([key not in held_out for key in keys], dtype=bool)
        chosen = (truth >= 0) & (free if len(free) == len(truth) else not held_out)
        rows = references.rows[domain][chosen]
        log_probs = np.asarray(rows[:, columns], dtype=np.float64)
        found.append(Labelled(domain, rows, log_probs, np.asarray(truth[chosen], dtype=np.int64)))
    return found


def hold_against(reference: Labelled, rows: Floats, columns: slice) -> Shifted | None:
    """The window's shares by this reference; None when it has too few labels of a class, or C is near singular."""
    k = reference.log_probs.shape[1]
    counts = np.bincount(reference.truth, minlength=k)
    if counts.sum() < MIN_REFERENCE or counts.min() < MIN_PER_CLASS:
        return None
    log_probs = np.asarray(rows[:, columns], dtype=np.float64)
    predicted = np.asarray(log_probs.argmax(axis=1), dtype=np.int64)
    confusion = joint_confusion(reference.truth, reference.predicted, k)
    answered = np.bincount(predicted, minlength=k) / len(rows)
    shift = estimate_label_shift(confusion, answered, len(reference.truth), len(rows))
    if shift is None:
        return None
    temperature, bias = fit_bcts(reference.log_probs, reference.truth)
    calibrated = np.asarray(softmax(log_probs / temperature + bias, axis=1), dtype=np.float64)
    by_em = maximise_prior(calibrated, shift.before)
    weights = (by_em / shift.before)[reference.truth]
    moved = features_moved(reference.rows, reference.predicted, weights, rows, predicted)
    return Shifted(reference, shift, by_em, moved, temperature, bias)


def shrunk(before: Doubles, after: Doubles, n: int) -> Doubles:
    """q drawn towards p by n / (n + 50 k), every class kept possible."""
    kept = n / (n + SHRINK_PER_CLASS * len(before))
    mixed = np.maximum(before + kept * (after - before), LEAST_SHARE)
    return np.asarray(mixed / mixed.sum(), dtype=np.float64)


def features_moved(
    reference: Floats, answered_before: Integers, weights: Doubles, rows: Floats, answered: Integers
) -> float:
    """The largest D over its critical value, over features and predicted labels; above 1 something else moved.

    D is the Kolmogorov-Smirnov distance between a window's feature and the reference's weighted one, given the
    predicted label; critical at 1 % for all features and labels together (Bonferroni), and at least 0.1. The weighted
    reference counts as (sum w)^2 / sum w^2 rows.

    Args:
        reference, answered_before, weights: (m, d) rows, (m,) predicted labels, (m,) weights.
        rows, answered: (n, d) rows and (n,) predicted labels of the window.
    """
    labels = np.unique(answered)
    alpha = GUARD_ALPHA / (rows.shape[1] * len(labels))
    worst = 0.0
    for label in labels:
        mine, theirs = rows[answered == label], reference[answered_before == label]
        mass = weights[answered_before == label]
        if min(len(mine), len(theirs)) < MIN_GUARD_ROWS:
            continue
        effective = mass.sum() ** 2 / np.square(mass).sum()
        rate = np.sqrt(effective * len(mine) / (effective + len(mine)))
        critical = max(float(kstwobign.isf(alpha)) / rate, GUARD_EFFECT)
        worst = max(worst, float(ks_weighted(theirs, mass, mine).max()) / critical)
    return worst


def ks_weighted(reference: Floats, weights: Doubles, rows: Floats) -> NDArray[np.float64]:
    """(d,) largest distances between the distribution functions of (m, d) weighted rows and (n, d) equal ones."""
    both = np.concatenate([reference, rows])
    mass = np.concatenate([weights / weights.sum(), np.full(len(rows), -1.0 / len(rows))])
    order = both.argsort(axis=0, kind="stable")
    ranked = np.take_along_axis(both, order, axis=0)
    gaps = np.abs(mass[order].cumsum(axis=0))
    last = np.ones_like(gaps, dtype=bool)
    last[:-1] = ranked[1:] > ranked[:-1]  # among equal values only the last has all their mass below it
    return np.asarray(np.where(last, gaps, 0.0).max(axis=0), dtype=np.float64)
