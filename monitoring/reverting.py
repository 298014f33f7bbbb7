"""Is a prior correction over? Nothing else would notice: traffic as it was before the correction raises no alarm.

BBSE holds the window against references of the time before: the classes' shares are back when they have not moved from
one of these, and have moved from those that entered under the correction. Then a job is opened that may only drop the
correction; it needs no labels, for the gate has sets of the time before.
"""

from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np
from sqlalchemy import Connection

from monitoring.check import Baseline
from monitoring.policy import Rules, cooldown_s, why_not
from trimtab.drift import DriftKind, DriftReport, MonitorState
from trimtab.features import MAX_LABEL_FEATURES, Floats, References
from trimtab.jobs import PRIOR_BACK, AdaptationJob, JobStatus
from trimtab.ledger import examples, jobs, versions
from trimtab.ledger.clock import now
from trimtab.stats.label_shift import LabelShift, estimate_label_shift, joint_confusion

LOOKED_BACK = 20  # newest jobs in which an attempt for this version is looked for


def open_if_back(
    tx: Connection, state: MonitorState, report: DriftReport, rows: Floats, baseline: Baseline, rules: Rules
) -> AdaptationJob | None:
    """The job that drops the champion's prior correction, where its time is over and nothing stands against a job.

    Args:
        state: After the check.
        report: Of the check; without an alarm.
        rows: (n, d) feature rows of its window.
    """
    if report.alarm or state.in_alarm or not _corrected(tx, state):
        return None
    may_act = replace(state, kind=DriftKind.LABEL_SHIFT, harmful=True)
    in_flight = jobs.in_flight(tx, state.model)
    if why_not(may_act, now=now(tx), in_flight=in_flight, rules=rules) or _tried(tx, state, rules):
        return None
    back_to = prior_is_back(baseline.references, shifted_domains(tx, state.model), rows)
    if not back_to:
        return None
    cause = {
        "kind": PRIOR_BACK,
        "report": report.id,
        "drift": DriftKind.LABEL_SHIFT,
        "method": "prior",
        "version": state.version,
        "like": back_to,
    }
    return jobs.open_job(tx, state.model, cause=cause, domain="", window_from_seq=report.first_seq)


def prior_is_back(references: References, shifted: AbstractSet[str], rows: Floats) -> str:
    """The domain of the time before whose shares of the classes the (n, d) rows have again; "" where there is none."""
    if not shifted or len(references.feature_map.labels) > MAX_LABEL_FEATURES:
        return ""
    found = {domain: _shift(references, domain, rows) for domain in references.rows}
    known = {domain: shift for domain, shift in found.items() if shift is not None}
    since = [_moved(shift) for domain, shift in known.items() if domain in shifted]
    if not since or not all(since):
        return ""
    before = {domain: shift for domain, shift in known.items() if domain not in shifted and not _moved(shift)}
    return min(before, key=lambda domain: before[domain].total_variation, default="")


def shifted_domains(tx: Connection, model: str) -> frozenset[str]:
    """Domains that entered with a version that was made by a prior correction."""
    made = {
        version.n
        for version in versions.list_versions(tx, model)
        if version.manifest.get("training", {}).get("remedy") == "prior"
    }
    first = examples.first_versions(tx, model)
    return frozenset(domain for domain, n in first.items() if n in made)


def _moved(shift: LabelShift) -> bool:
    return shift.total_variation > shift.noise


def _shift(references: References, domain: str, rows: Floats) -> LabelShift | None:
    """What BBSE makes of the rows against a domain's labelled ones, by the answers before any remedy."""
    first, labels = len(references.feature_map.components), references.feature_map.labels
    columns = slice(first, first + len(labels))
    kept = references.truth[domain] >= 0
    if not kept.any() or not len(rows):
        return None
    truth, answered = references.truth[domain][kept], references.rows[domain][kept, columns].argmax(axis=1)
    shares = np.bincount(rows[:, columns].argmax(axis=1), minlength=len(labels)) / len(rows)
    confusion = joint_confusion(truth, answered, len(labels))
    return estimate_label_shift(confusion, shares, len(truth), len(rows))


def _corrected(tx: Connection, state: MonitorState) -> bool:
    manifest = versions.get_version(tx, state.model, state.version).manifest
    return bool(manifest.get("training", {}).get("corrected"))


def _tried(tx: Connection, state: MonitorState, rules: Rules) -> bool:
    """Whether a job of this version came to a verdict on dropping its correction, or ended too lately without one.

    An attempt that was held, cancelled, or that failed is made again, each time after twice as long.
    """
    newest = jobs.list_jobs(tx, model=state.model, limit=LOOKED_BACK)
    made = [
        job
        for job in newest
        if (job.cause.get("kind"), job.cause.get("version")) == (PRIOR_BACK, state.version)
    ]
    if any(job.status in {JobStatus.REJECTED, JobStatus.PROMOTED} for job in made):
        return True
    wait_s = cooldown_s(len(made) - 1, rules)
    return any(now(tx) < (job.finished_at or 0.0) + wait_s for job in made)
