"""All checks in order, and the verdict."""

from __future__ import annotations

from trimtab.settings import GateSettings
from workers.gate.calibration import calibration, likelihood
from workers.gate.data import data_checks
from workers.gate.evidence import Evidence, Purpose
from workers.gate.paired import forgetting, gain
from workers.gate.slices import flips, slices
from workers.gate.soundness import integrity, parity, update
from workers.gate.unchanged import unchanged_checks
from workers.gate.verdict import Check, Decision, Result, Verdict, decide
from workers.gate.wear import wear


def gate(evidence: Evidence, settings: GateSettings) -> Verdict:
    """Runs every check and decides; `mode` hold never promotes, off promotes whatever is sound as an artefact."""
    artefact = (integrity(evidence), parity(evidence))
    checks = (*artefact, *_tests(evidence, settings))
    if settings.mode == "off" and all(check.result is Result.PASS for check in artefact):
        return Verdict(
            decision=Decision.PROMOTE, reason="TRIMTAB_GATE__MODE is off: tests not heeded", checks=checks
        )
    decision, reason = decide(checks)
    if settings.mode == "hold" and decision is Decision.PROMOTE:
        decision, reason = Decision.HOLD, "every check passed; TRIMTAB_GATE__MODE is hold: a person promotes"
    return Verdict(decision=decision, reason=reason, checks=checks)


def _tests(evidence: Evidence, settings: GateSettings) -> tuple[Check, ...]:
    """What is asked of a candidate for this purpose."""
    if evidence.purpose is not Purpose.ACCURACY:
        return unchanged_checks(evidence, settings)
    kept = (forgetting(pair, settings) for pair in evidence.past)
    return (*kept, gain(evidence.gain, settings), *_guards(evidence, settings))


def _guards(evidence: Evidence, settings: GateSettings) -> tuple[Check, ...]:
    """The checks of what was looked at besides."""
    rows, data, change = evidence.rows, evidence.data, evidence.update
    checks: list[Check] = []
    if rows is not None and rows.n:
        checks += [
            calibration(rows, settings.alpha),
            likelihood(rows, settings.alpha),
            flips(rows, settings.alpha),
            slices(rows),
        ]
    if data is not None:
        checks += data_checks(data, settings)
    if change is not None:
        checks.append(update(change))
    checks += [wear(domain, n, settings) for domain, n in evidence.uses.items()]
    return tuple(checks)
