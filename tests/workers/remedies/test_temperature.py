from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.workers.remedies.conftest import MakeTask, labelled
from trimtab.bundle import Remedy
from workers.remedies.temperature import fit_bcts, fit_temperature, nll, propose_temperature
from workers.task import Declined, Proposal


def drawn(
    temperature: float, bias: tuple[float, ...], n: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from softmax(logits / temperature + bias)."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=3.0, size=(n, len(bias)))
    chances = softmax(logits / temperature + np.array(bias), axis=1)
    return logits, (random.random((n, 1)) > chances.cumsum(axis=1)).sum(axis=1)


def test_nll_is_the_mean_surprise_of_the_labels() -> None:
    logits, labels = drawn(1.0, (0.0, 0.0, 0.0), 50)
    chances = softmax(logits, axis=1)
    assert nll(logits, labels) == pytest.approx(-np.log([chances[i, y] for i, y in enumerate(labels)]).mean())


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature, (0.0, 0.0, 0.0), 20_000)
    assert fit_temperature(logits, labels, np.zeros(3)) == pytest.approx(temperature, rel=0.05)


def test_a_prior_after_the_temperature_is_taken_into_account() -> None:
    logits, labels = drawn(2.0, (1.5, 0.0), 20_000)
    assert fit_temperature(logits, labels, np.array([1.5, 0.0])) == pytest.approx(2.0, rel=0.05)


def test_temperature_and_bias_that_made_the_labels_are_found() -> None:
    logits, labels = drawn(1.7, (0.8, -0.5, -0.3), 40_000)
    temperature, bias = fit_bcts(logits, labels)
    assert temperature == pytest.approx(1.7, rel=0.05)
    assert bias == pytest.approx(np.array([0.8, -0.5, -0.3]), abs=0.08)


def test_no_other_temperature_and_bias_is_likelier() -> None:
    """Against a solver that knows no gradient."""
    logits, labels = drawn(1.7, (0.8, -0.5, -0.3), 300)
    temperature, bias = fit_bcts(logits, labels)

    def value(p: NDArray[np.float64]) -> float:
        return nll(logits * p[0] + p[1:], labels)

    brute = minimize(value, np.array([1.0, 0.0, 0.0, 0.0]), method="Nelder-Mead")
    assert nll(logits / temperature + bias, labels) <= brute.fun + 1e-6


def test_an_overconfident_champion_is_cooled_and_answers_the_same(make_task: MakeTask) -> None:
    rows = labelled(toy_rows("shop", 200))
    task = make_task(train=rows)
    found = propose_temperature(task)
    assert isinstance(found, Proposal)
    assert found.details["nll_after"] < found.details["nll_before"]
    assert found.details["temperature"] > 1.0
    assert (
        found.answers.predicted(rows.texts).tolist() == task.champion.answers.predicted(rows.texts).tolist()
    )
    chances = found.answers.probabilities(rows.texts)
    assert -np.log(chances[np.arange(200), rows.labels]).mean() == pytest.approx(
        found.details["nll_after"], abs=1e-4
    )


def test_the_candidates_file_says_what_the_bundle_does(make_task: MakeTask) -> None:
    found = propose_temperature(make_task(train=labelled(toy_rows("shop", 200))))
    assert isinstance(found, Proposal)
    remedy = Remedy.from_bytes(found.candidate.files["remedy.json"]).check(len(LABELS))
    assert remedy == found.candidate.bundle.remedy
    assert found.candidate.bundle.version == 2
    assert "manifest.json" not in found.candidate.files


def test_few_labels_and_a_calibrated_champion_are_declined(make_task: MakeTask) -> None:
    assert isinstance(propose_temperature(make_task(train=labelled(toy_rows("shop", 49)))), Declined)
    first = propose_temperature(make_task(train=labelled(toy_rows("shop", 200))))
    assert isinstance(first, Proposal)
    logits, labels = drawn(1.0, (0.0, 0.0), 400)
    assert fit_temperature(logits, labels, np.zeros(2)) == pytest.approx(1.0, rel=0.2)
