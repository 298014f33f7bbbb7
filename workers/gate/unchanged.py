"""Candidates that change no answer: judged by what they are for, as there is no accuracy to gain or to lose.

*References only*: every file that answers is the champion's, and labels drawn at random exclude a loss on the new
domain. *Temperature*: every answer is the champion's, and the probabilities are likelier on the new domain's gate
labels, and no less likely on any past domain's, as served.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from trimtab.adapter import REMEDY
from trimtab.settings import GateSettings
from workers.gate.calibration import MAX_NLL_RATIO
from workers.gate.evidence import Evidence, Purpose, Rows
from workers.gate.verdict import Check, Result, not_passed, passed
from workers.gate.wear import level, told
from workers.health import Health

LEAST_GAIN = 0.005  # nats a text


def unchanged_checks(evidence: Evidence, settings: GateSettings) -> tuple[Check, ...]:
    """The checks of a candidate with this purpose, beside those of every artefact."""
    if evidence.purpose is Purpose.REFERENCES:
        return (same_files(evidence), harmless(evidence.gain.domain, evidence.health, evidence.looks))
    return (
        same_answers(evidence),
        surer(evidence.gain.domain, evidence.by_domain.get(evidence.gain.domain), settings, evidence.looks),
        *(
            as_likely(domain, rows, settings.alpha)
            for domain, rows in evidence.by_domain.items()
            if domain != evidence.gain.domain
        ),
    )


def same_files(evidence: Evidence) -> Check:
    """Nothing that answers was changed."""
    changed = ", ".join(sorted(evidence.changed))
    return Check(
        name="unchanged",
        result=passed(not evidence.changed),
        value=float(len(evidence.changed)),
        limit=0.0,
        detail=f"changed: {changed}" if changed else "every file that answers is the champion's",
    )


def same_answers(evidence: Evidence) -> Check:
    """Only the remedy was changed, and no gate example is answered differently."""
    n_moved = sum(
        int((rows.incumbent.argmax(axis=1) != rows.candidate.argmax(axis=1)).sum())
        for rows in evidence.by_domain.values()
    )
    others = evidence.changed - {REMEDY}
    return Check(
        name="unchanged",
        result=passed(not n_moved and not others),
        value=float(n_moved),
        limit=0.0,
        n=sum(rows.n for rows in evidence.by_domain.values()),
        detail=f"{n_moved} gate examples are answered differently"
        + (f"; changed: {', '.join(sorted(others))}" if others else ""),
    )


def harmless(domain: str, health: Health | None, looks: int | None = 0) -> Check:
    """Passes when labels exclude a loss of accuracy, at the level of `health`, and the answers did not move."""
    name = f"benign:{domain}"
    if health is None:
        said = "too few labels or references to tell"
        return Check(name=name, result=Result.INSUFFICIENT, value=None, limit=0.0, n=0, detail=said)
    return Check(
        name=name,
        result=Result.PASS if health.harmless and health.unmoved else Result.INSUFFICIENT,
        value=health.loss,
        limit=health.tolerance,
        bound=health.bound,
        n=health.n,
        power=health.power,
        detail=health.words + told(looks, health.alpha),
        before=health.reference_accuracy,
        after=health.accuracy,
        looks=looks,
        level=health.alpha,
    )


def surer(domain: str, rows: Rows | None, settings: GateSettings, looks: int | None = 0) -> Check:
    """Passes when the likelihood on the new domain's gate labels is better, by a paired test, and worth it."""
    name = f"calibration_gain:{domain}"
    n = 0 if rows is None else rows.n
    if rows is None or n < settings.min_n:
        said = f"{n} labelled examples, {settings.min_n} are needed"
        return Check(name=name, result=Result.INSUFFICIENT, value=None, limit=LEAST_GAIN, n=n, detail=said)
    gained = _nll(rows.incumbent, rows) - _nll(rows.candidate, rows)
    alpha = level(settings.alpha, looks)
    mean, half = _mean(gained, alpha)
    right = mean - half > 0.0 and mean >= LEAST_GAIN
    return Check(
        name=name,
        result=Result.PASS if right else not_passed(shown=mean + half < LEAST_GAIN),
        value=mean,
        limit=LEAST_GAIN,
        bound=mean - half,
        n=n,
        detail=f"{mean:+.4f} nats a text likelier as served, at least {mean - half:+.4f}"
        + told(looks, alpha),
        looks=looks,
        level=alpha,
    )


def as_likely(domain: str, rows: Rows, alpha: float) -> Check:
    """Passes when the data exclude a negative log-likelihood more than 2 % above the champion's, as served."""
    old, new = _nll(rows.incumbent, rows), _nll(rows.candidate, rows)
    mean, half = _mean(new - MAX_NLL_RATIO * old, alpha)
    return Check(
        name=f"likelihood:{domain}",
        result=Result.PASS if mean + half < 0.0 else not_passed(shown=mean - half > 0.0),
        value=float(new.mean() / old.mean()),
        limit=MAX_NLL_RATIO,
        n=rows.n,
        detail=f"{old.mean():.4f} to {new.mean():.4f} nats a text as served",
    )


def _nll(log_probabilities: np.ndarray, rows: Rows) -> np.ndarray:
    """(n,) of each row."""
    return -log_probabilities[np.arange(rows.n), rows.truth]


def _mean(values: np.ndarray, alpha: float) -> tuple[float, float]:
    """Mean and one-sided half width, by the normal approximation; infinitely wide below two values."""
    if len(values) < 2:
        return float(values.sum()), float("inf")
    return float(values.mean()), float(norm.isf(alpha) * values.std(ddof=1) / np.sqrt(len(values)))
