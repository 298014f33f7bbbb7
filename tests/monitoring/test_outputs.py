"""Guards on answers: silent where inputs explain them or chance does, loud where nothing does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from monitoring.check import Baseline
from monitoring.mixture import know_domains
from monitoring.outputs import not_finite, unexplained
from tests.fixtures.references import FEATURE_MAP, LABELS, MAX_PROB, labelled, traffic
from tests.monitoring.test_evidence import THRESHOLDS, samples_of
from trimtab.features import Floats, References
from trimtab.ledger.windows import PredictionWindow

N = 500
ROWS = {"movie": traffic(1000, 0.0, 1), "tweets": traffic(1000, 1.5, 2)}
REFERENCES = labelled(ROWS)
BASELINE = Baseline(1, know_domains(ROWS), REFERENCES, (THRESHOLDS,) * 2)


def answers(rows: Floats, share: float, seed: int = 0) -> PredictionWindow:
    """So many answers are the first class."""
    first = np.random.default_rng(seed).random(len(rows)) < share
    return replace(samples_of(rows), labels=tuple(LABELS[0 if each else 1] for each in first))


def guard(window: PredictionWindow, baseline: Baseline = BASELINE, alpha: float = 0.001) -> str:
    return unexplained(baseline, window, alpha=alpha, min_effect=0.1)


def test_it_holds_its_error_on_traffic_of_the_known_domains() -> None:
    """With floors far below noise, so that the sigmas alone are tested."""
    n, alpha = 200, 0.05
    windows = [answers(traffic(N, 0.0, seed), 0.5, seed) for seed in range(n)]
    found = sum(bool(unexplained(BASELINE, each, alpha=alpha, min_effect=1.0)) for each in windows)
    assert found <= binom.ppf(0.999, n, alpha)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_answers_that_collapse_on_calm_inputs_are_told(share: float) -> None:
    assert "on inputs like these" in guard(answers(traffic(N, 0.0, 3), share))


def test_a_class_share_that_moves_by_less_than_a_quarter_may_be_a_change_of_the_classes() -> None:
    assert guard(answers(traffic(N, 0.0, 3), 0.7)) == ""


def test_a_mixture_of_known_domains_is_calm_and_its_answers_are_held_against_the_mixture() -> None:
    certain = {"movie": np.zeros(1000, np.int64), "tweets": np.ones(1000, np.int64)}
    baseline = replace(BASELINE, references=replace(REFERENCES, predicted=certain))
    mixed = np.concatenate([traffic(N // 2, 0.0, 4), traffic(N // 2, 1.5, 5)])
    assert guard(answers(mixed, 0.5), baseline) == ""
    assert guard(answers(mixed, 1.0), baseline).startswith("0% of the answers are 'pos'")


def test_where_inputs_moved_the_drift_statistics_decide() -> None:
    moved = traffic(N, 0.0, 3)
    moved[:, -1] += 1.0
    assert guard(answers(moved, 1.0)) == ""


def test_a_loss_of_confidence_that_no_input_explains_is_told() -> None:
    unsure = traffic(N, 0.0, 3)
    unsure[:, MAX_PROB] -= 0.8
    assert "mean largest probability" in guard(answers(unsure, 0.5))
    little = traffic(N, 0.0, 3)
    little[:, MAX_PROB] -= 0.05
    assert guard(answers(little, 0.5)) == ""


def test_answers_that_are_not_finite_are_counted_and_inputs_are_not() -> None:
    rows = traffic(N, 0.0, 3)
    rows[:, 0] = np.inf
    assert not_finite(BASELINE, samples_of(rows)) == ""
    rows[:2, MAX_PROB] = np.nan
    rows[2, FEATURE_MAP.names.index("log_p_neg")] = -np.inf
    assert not_finite(BASELINE, samples_of(rows)) == f"3 of {N} answers are not finite"
    assert not_finite(BASELINE, samples_of(rows[:0])) == ""


def test_a_reference_that_does_not_say_what_was_answered_guards_no_classes() -> None:
    silent = replace(BASELINE, references=References(FEATURE_MAP, ROWS))
    assert guard(answers(traffic(N, 0.0, 3), 1.0), silent) == ""
