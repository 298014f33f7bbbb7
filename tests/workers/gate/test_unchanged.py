"""Candidates that change no answer: each kind by its own rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trimtab.adapter import HEAD, REMEDY, WEIGHTS
from trimtab.settings import GateSettings
from workers.evaluate import scorecard
from workers.gate import Decision, Evidence, Paired, Rows, gate
from workers.gate.evidence import Purpose
from workers.gate.unchanged import as_likely, surer
from workers.gate.verdict import Result, Verdict
from workers.health import Health

SETTINGS = GateSettings()
TRUTH = np.zeros(400, dtype=np.int64)
CARD = scorecard(TRUTH, TRUTH)
HEALTH = Health(
    like="movie", shares_moved=0.02, confidence_moved=0.01, n=400, accuracy=0.9, n_reference=800,
    reference_accuracy=0.9, tolerance=0.05, bound=0.03, power=0.8, surplus=0.0, surplus_error=0.02, alpha=0.05,
)  # fmt: skip


def rows(temperature: float, n: int = 400, seed: int = 0) -> Rows:
    """The champion is right as often as it says; the candidate says it with another temperature."""
    random = np.random.default_rng(seed)
    logit = random.normal(0.0, 2.0, n)
    truth = (random.random(n) < 1.0 / (1.0 + np.exp(-logit))).astype(np.int64)
    return Rows(truth=truth, incumbent=_log(logit), candidate=_log(logit / temperature))


def swapped(found: Rows) -> Rows:
    return replace(found, incumbent=found.candidate, candidate=found.incumbent)


def _log(logit: np.ndarray) -> np.ndarray:
    found: np.ndarray = -np.log1p(np.exp(np.stack([logit, -logit], axis=1)))
    return found


def evidence(purpose: Purpose, **changes: Any) -> Evidence:
    values: dict[str, Any] = {
        "delta_norms": {"layer": 0.1},
        "parity": 1e-6,
        "n_parity": 64,
        "past": (),
        "gain": Paired(domain="new", against="champion 1", incumbent=CARD, candidate=CARD),
        "purpose": purpose,
        "health": HEALTH,
        "by_domain": {"movie": swapped(rows(3.0)), "new": swapped(rows(3.0, seed=1))},
    }
    return Evidence(**(values | changes))


def results(verdict: Verdict) -> dict[str, Result]:
    return {check.name: check.result for check in verdict.checks[2:]}


def test_a_version_that_changes_nothing_needs_a_drift_that_costs_nothing() -> None:
    verdict = gate(evidence(Purpose.REFERENCES), SETTINGS)
    assert verdict.decision is Decision.PROMOTE
    assert results(verdict) == {"unchanged": Result.PASS, "benign:new": Result.PASS}


@pytest.mark.parametrize("health", [None, replace(HEALTH, bound=0.06), replace(HEALTH, shares_moved=0.3)])
def test_without_proof_that_it_costs_nothing_it_is_held(health: Health | None) -> None:
    assert gate(evidence(Purpose.REFERENCES, health=health), SETTINGS).decision is Decision.HOLD


@pytest.mark.parametrize("name", [WEIGHTS, HEAD, REMEDY])
def test_who_changes_an_answer_on_the_way_is_rejected(name: str) -> None:
    verdict = gate(evidence(Purpose.REFERENCES, changed=frozenset({name})), SETTINGS)
    assert verdict.decision is Decision.REJECT
    assert name in verdict.reason


def test_a_temperature_is_judged_by_likelihood() -> None:
    verdict = gate(evidence(Purpose.CONFIDENCE, changed=frozenset({REMEDY})), SETTINGS)
    assert verdict.decision is Decision.PROMOTE
    assert results(verdict).keys() == {"unchanged", "calibration_gain:new", "likelihood:movie"}


@pytest.mark.parametrize(
    ("changes", "stopped_by"),
    [
        ({"changed": frozenset({REMEDY, HEAD})}, "unchanged"),
        ({"by_domain": {"new": replace(rows(3.0), candidate=rows(3.0).candidate[:, ::-1])}}, "unchanged"),
        ({"by_domain": {"new": rows(3.0)}}, "calibration_gain:new"),
        ({"by_domain": {"movie": rows(3.0), "new": swapped(rows(3.0))}}, "likelihood:movie"),
    ],
)
def test_a_temperature_that_does_harm_is_rejected(changes: dict[str, Any], stopped_by: str) -> None:
    verdict = gate(evidence(Purpose.CONFIDENCE, **changes), SETTINGS)
    assert verdict.decision is Decision.REJECT
    assert results(verdict)[stopped_by] is Result.FAIL


def test_too_few_labels_hold() -> None:
    few = {"movie": swapped(rows(3.0)), "new": swapped(rows(3.0, n=99))}
    assert gate(evidence(Purpose.CONFIDENCE, by_domain=few), SETTINGS).decision is Decision.HOLD
    assert surer("new", None, SETTINGS).result is Result.INSUFFICIENT
    assert as_likely("movie", rows(1.0, n=1), 0.05).result is Result.INSUFFICIENT


def test_a_mode_that_holds_holds_these_too() -> None:
    assert gate(evidence(Purpose.REFERENCES), GateSettings(mode="hold")).decision is Decision.HOLD


def test_a_temperature_without_effect_seldom_passes() -> None:
    """At a true gain of zero at most 5 % pass: a calibrated champion and a temperature of 1.02, 300 draws."""
    passed = sum(
        surer("new", rows(1.02, n=200, seed=seed), SETTINGS).result is Result.PASS for seed in range(300)
    )
    assert passed <= 27  # binomial(300, 0.05), 99.9 %
