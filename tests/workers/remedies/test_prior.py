"""Prior correction on a mixture of normals whose true posterior is known, and on a toy model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.workers.remedies.conftest import MakeTask
from trimtab.adapter import REFERENCES
from trimtab.bundle import Remedy
from trimtab.features import References
from workers.remedies.prior import (
    Labelled,
    features_moved,
    hold_against,
    ks_weighted,
    labelled_references,
    propose_prior,
    shrunk,
)
from workers.remedies.variants import with_remedy
from workers.task import Declined, Proposal

COLUMNS = slice(2, 4)


def rows_of(positive: float, n: int, seed: int, moved: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 5) feature rows of two normals one apart, whose log odds a classifier overstates twice; and the truth."""
    random = np.random.default_rng(seed)
    truth = (random.random(n) < positive).astype(np.int64)
    seen = random.normal(size=(n, 2)) + np.column_stack([2.0 * truth - 1.0, np.full(n, moved)])
    odds = 2 * (2.0 * seen[:, 0] + 0.6)
    log_probs = np.column_stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)])
    return np.column_stack([seen, log_probs, random.normal(size=n)]).astype(np.float32), truth


def reference(n: int = 1500, seed: int = 100) -> Labelled:
    rows, truth = rows_of(0.5, n, seed)
    return Labelled("film", rows, rows[:, COLUMNS].astype(np.float64), truth)


def accuracy(rows: np.ndarray, truth: np.ndarray, temperature: float, log_prior: np.ndarray) -> float:
    scores = rows[:, COLUMNS].astype(np.float64) / temperature + log_prior
    return float((scores.argmax(axis=1) == truth).mean())


@pytest.mark.parametrize("positive", [0.05, 0.15, 0.85, 0.95])
def test_a_strong_shift_is_repaired_as_if_the_shares_were_known(positive: float) -> None:
    """Share of the oracle's gain over 40 windows of 1,000; the mean must be at least 90 %."""
    found, best, nothing = [], [], []
    known = reference()
    for seed in range(40):
        rows, truth = rows_of(positive, 1000, seed)
        shifted = hold_against(known, rows, COLUMNS)
        assert shifted is not None
        after = shrunk(shifted.by_bbse.before, shifted.by_em, len(rows))
        log_prior = shifted.bias + np.log(after / shifted.by_bbse.before)
        found.append(accuracy(rows, truth, shifted.temperature, log_prior))
        true_prior = np.log([2 * (1 - positive), 2 * positive])
        best.append(accuracy(rows, truth, 2.0, np.array([0.6, 0.0]) + true_prior))
        nothing.append(accuracy(rows, truth, 1.0, np.zeros(2)))
    assert np.mean(best) - np.mean(nothing) > 0.02
    assert (np.mean(found) - np.mean(nothing)) / (np.mean(best) - np.mean(nothing)) >= 0.9


def test_the_estimate_is_near_the_truth_and_calibrated() -> None:
    rows, _ = rows_of(0.8, 4000, 1)
    shifted = hold_against(reference(4000), rows, COLUMNS)
    assert shifted is not None
    assert shifted.by_em == pytest.approx([0.2, 0.8], abs=0.03)
    assert shifted.by_bbse.after == pytest.approx([0.2, 0.8], abs=0.03)
    assert shifted.temperature == pytest.approx(2.0, rel=0.15)


def test_the_guard_is_quiet_under_a_label_shift() -> None:
    """Features given the predicted label do move under a label shift: the reference has to be reweighted."""
    found = [hold_against(reference(), rows_of(0.9, 1000, seed)[0], COLUMNS) for seed in range(60)]
    fired = sum(each is None or each.moved > 1 for each in found)
    assert fired <= 3  # binomial: at a true rate of 1 %, more than 3 of 60 come once in 300 times


def test_the_guard_fires_when_something_else_moved() -> None:
    """One feature moved by 0.4 standard deviations: D is 0.16."""
    for seed in range(10):
        shifted = hold_against(reference(), rows_of(0.5, 1000, seed, moved=0.4)[0], COLUMNS)
        assert shifted is not None
        assert shifted.moved > 1


def test_a_small_change_of_the_features_is_no_matter() -> None:
    rows, _ = rows_of(0.5, 20_000, 1, moved=0.05)
    shifted = hold_against(reference(20_000), rows, COLUMNS)
    assert shifted is not None
    assert shifted.moved < 1


def test_equal_weights_give_the_plain_distance() -> None:
    random = np.random.default_rng(0)
    one, other = (
        random.integers(5, size=(80, 3)).astype(np.float32),
        random.normal(size=(50, 3)).astype(np.float32),
    )
    expected = [ks_2samp(one[:, j], other[:, j]).statistic for j in range(3)]
    assert ks_weighted(one, np.full(80, 3.0), other) == pytest.approx(expected)
    assert ks_weighted(one, np.ones(80), one) == pytest.approx(np.zeros(3), abs=1e-12)


def test_whole_weights_are_repetitions() -> None:
    random = np.random.default_rng(0)
    one, other = (random.normal(size=(n, 2)).astype(np.float32) for n in (40, 30))
    times = random.integers(1, 5, size=40)
    repeated = np.repeat(one, times, axis=0)
    expected = [ks_2samp(repeated[:, j], other[:, j]).statistic for j in range(2)]
    assert ks_weighted(one, times.astype(float), other) == pytest.approx(expected)


def test_a_predicted_label_with_few_rows_is_not_tested() -> None:
    random = np.random.default_rng(0)
    one = random.normal(size=(100, 2)).astype(np.float32)
    other = one + np.float32(9)
    few = np.zeros(100, dtype=np.int64)
    few[:15] = 1
    assert features_moved(one, 1 - few, np.ones(100), other, few) == 0.0


def test_small_windows_move_the_prior_less() -> None:
    before, after = np.array([0.5, 0.5]), np.array([0.1, 0.9])
    assert shrunk(before, after, 100) == pytest.approx([0.3, 0.7])
    assert shrunk(before, after, 10**9) == pytest.approx(after)
    assert shrunk(before, np.array([0.0, 1.0]), 10**9).min() > 0


def test_too_few_labels_of_a_class_say_nothing() -> None:
    rows, truth = rows_of(0.5, 300, 1)
    chosen = np.concatenate([np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)[:9]])
    known = Labelled("film", rows[chosen], rows[chosen][:, COLUMNS].astype(np.float64), truth[chosen])
    assert hold_against(known, rows, COLUMNS) is None


# On a toy model


def test_gate_rows_are_not_calibrated_on(make_task: MakeTask) -> None:
    task = make_task()
    references = References.from_bytes(task.champion.files[REFERENCES])
    every = labelled_references(references, 2, frozenset())[0]
    allowed = labelled_references(references, 2, task.held_out)[0]
    keys = set(references.keys["film"])
    assert len(every.truth) - len(allowed.truth) == len(keys & task.held_out) > 100


def skewed(positive: int, negative: int, seed: int) -> tuple[str, ...]:
    rows = toy_rows("film", 3 * (positive + negative), seed)
    of = {label: [row.text for row in rows if row.label == label] for label in LABELS}
    return (*of["negative"][:negative], *of["positive"][:positive])


def test_shifted_films_are_corrected(make_task: MakeTask) -> None:
    found = propose_prior(make_task(unlabelled=skewed(540, 60, seed=21)))
    assert isinstance(found, Proposal)
    assert found.details["prior_after"][1] == pytest.approx(0.9, abs=0.06)
    prior = found.candidate.bundle.remedy.log_prior
    assert prior is not None
    assert prior[1] > prior[0]
    assert "'positive'" in found.reason or "positive" in found.reason


def test_another_domain_is_no_label_shift(make_task: MakeTask) -> None:
    found = propose_prior(make_task(unlabelled=tuple(row.text for row in toy_rows("shop", 600))))
    assert isinstance(found, Declined)
    assert "features moved" in found.reason


def test_films_as_before_need_no_correction(make_task: MakeTask) -> None:
    task = make_task(unlabelled=skewed(300, 300, seed=22))
    assert isinstance(propose_prior(task), Declined)
    corrected = with_remedy(task, Remedy(log_prior=(1.0, -1.0), temperature=1.5))
    champion = replace(task.champion, answers=corrected.answers)
    back = propose_prior(replace(task, champion=champion))
    assert isinstance(back, Proposal)
    assert back.candidate.bundle.remedy == Remedy(temperature=1.5)


def test_a_job_that_may_only_drop_a_correction_renews_none(make_task: MakeTask) -> None:
    """Shares of today that are neither those of before nor those of the correction."""
    corrected = with_remedy(make_task(), Remedy(log_prior=(1.0, -1.0), temperature=1.5))
    task = make_task(unlabelled=skewed(540, 60, seed=21))
    task = replace(task, champion=replace(task.champion, answers=corrected.answers))
    assert isinstance(propose_prior(task), Proposal)
    found = propose_prior(replace(task, only_drop=True))
    assert isinstance(found, Declined)
    assert "may only be dropped" in found.reason
    back = propose_prior(replace(task, unlabelled=skewed(300, 300, seed=22), only_drop=True))
    assert isinstance(back, Proposal)
    assert back.details["dropped"]


def test_rows_of_the_window_are_taken_as_they_are(make_task: MakeTask) -> None:
    """Texts of the task are not asked when the monitor's rows are there."""
    texts = skewed(540, 60, seed=21)
    task = make_task(unlabelled=texts)
    references = References.from_bytes(task.champion.files[REFERENCES])
    rows = references.feature_map.rows(task.champion.answers.outputs(texts), texts)
    by_texts, by_rows = propose_prior(task), propose_prior(make_task(window=rows))
    assert isinstance(by_texts, Proposal)
    assert isinstance(by_rows, Proposal)
    assert by_texts.details == by_rows.details


def test_small_windows_are_declined(make_task: MakeTask) -> None:
    assert isinstance(propose_prior(make_task(unlabelled=skewed(50, 49, seed=3))), Declined)
    assert isinstance(propose_prior(make_task()), Declined)
