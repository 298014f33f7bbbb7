"""All checks in order, and the verdict."""

from __future__ import annotations

from dataclasses import replace

from trimtab.settings import GateSettings
from workers.gate.calibration import calibration, likelihood
from workers.gate.data import data_checks
from workers.gate.evidence import Evidence, Purpose
from workers.gate.paired import forgetting, gain
from workers.gate.slices import flips, slices
from workers.gate.soundness import integrity, parity, update
from workers.gate.unchanged import unchanged_checks
from workers.gate.verdict import DATA, Check, Decision, Result, Verdict, decide, in_words
from workers.gate.wear import wear

UNJUDGED = Check(
    name="forgetting",
    result=Result.INSUFFICIENT,
    value=None,
    limit=0.0,
    n=0,
    detail="there is no gate set to hold the new base against: a person promotes",
)


def gate(evidence: Evidence, settings: GateSettings) -> Verdict:
    """Runs every check and decides; `mode` hold never promotes, off promotes whatever is sound as an artefact.

    What is wrong with labels that the candidate did not learn from decides nothing: then they are not kept.
    """
    artefact = (integrity(evidence), parity(evidence))
    checks = (*artefact, *_tests(evidence, settings))
    heeded = tuple(check for check in checks if evidence.learns or check.kind != DATA)
    decision, reason = decide(heeded)
    if settings.mode == "off" and all(check.result is Result.PASS for check in artefact):
        decision, reason = Decision.PROMOTE, "TRIMTAB_GATE__MODE is off: tests not heeded"
    if settings.mode == "hold" and decision is Decision.PROMOTE:
        decision, reason = Decision.HOLD, "every check passed; TRIMTAB_GATE__MODE is hold: a person promotes"
    verdict = Verdict(decision=decision, reason=reason, checks=checks)
    return verdict if evidence.learns else _without_labels(verdict)


def _without_labels(verdict: Verdict) -> Verdict:
    """Says so where a version is promoted whose window has labels that do not enter the memory."""
    if verdict.decision is not Decision.PROMOTE or not verdict.unfit:
        return verdict
    said = f"{verdict.reason}; labels of the training part are not kept: {in_words(verdict.unfit)}"
    return replace(verdict, reason=said)


def _tests(evidence: Evidence, settings: GateSettings) -> tuple[Check, ...]:
    """What is asked of a candidate for this purpose."""
    if evidence.purpose in {Purpose.CONFIDENCE, Purpose.REFERENCES}:
        return (*unchanged_checks(evidence, settings), *_data(evidence, settings))
    kept = tuple(forgetting(pair, settings) for pair in evidence.past)
    if evidence.purpose is Purpose.BASE:
        return (*(kept or (UNJUDGED,)), *_guards(evidence, settings))
    return (*kept, gain(evidence.gain, settings, evidence.looks), *_guards(evidence, settings))


def _data(evidence: Evidence, settings: GateSettings) -> tuple[Check, ...]:
    """The checks of the training rows, where there are any."""
    return () if evidence.data is None else data_checks(evidence.data, settings)


def _guards(evidence: Evidence, settings: GateSettings) -> tuple[Check, ...]:
    """The checks of what was looked at besides."""
    rows, change = evidence.rows, evidence.update
    checks: list[Check] = []
    if rows is not None and rows.n:
        checks += [
            calibration(rows, settings.alpha),
            likelihood(rows, settings.alpha),
            flips(rows, settings.alpha),
            slices(rows),
        ]
    checks += _data(evidence, settings)
    if change is not None:
        checks.append(update(change))
    checks += [wear(domain, n, settings) for domain, n in evidence.uses.items()]
    return tuple(checks)
