"""Label shift: exact where it must be, unbiased by simulation, quiet without a shift, silent where it cannot know."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom

from trimtab.stats.label_shift import (
    MIN_REFERENCE,
    Doubles,
    Integers,
    estimate_label_shift,
    joint_confusion,
    maximise_prior,
    total_variation,
)

# p(predicted = i | truth = j) in column j.
ERRORS = np.array([[0.80, 0.15, 0.10], [0.15, 0.75, 0.10], [0.05, 0.10, 0.80]])
PRIOR = np.array([0.5, 0.3, 0.2])
shares = st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3).map(lambda each: np.array(each) / sum(each))


def draw(prior: Doubles, n: int, random: np.random.Generator) -> tuple[Integers, Integers]:
    """n true and predicted labels."""
    truth = random.choice(3, size=n, p=prior)
    cumulative = ERRORS.cumsum(axis=0)[:, truth]
    return truth, (random.random(n) > cumulative).sum(axis=0)


def shares_of(labels: Integers) -> Doubles:
    return np.bincount(labels, minlength=3) / len(labels)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0.1, 3)), min_size=1, max_size=60))
def test_the_confusion_matrix_is_a_weighted_count(rows: list[tuple[int, int, float]]) -> None:
    truth, predicted = (np.array([row[i] for row in rows]) for i in (0, 1))
    weights = np.array([row[2] for row in rows])
    confusion = joint_confusion(truth, predicted, 3, weights)
    for i in range(3):
        for j in range(3):
            expected = sum(w for t, p, w in rows if (p, t) == (i, j)) / weights.sum()
            assert confusion[i, j] == pytest.approx(expected)


@given(shares, shares)
def test_with_exact_shares_and_endless_samples_the_new_prior_is_exact(
    before: Doubles, after: Doubles
) -> None:
    assume(total_variation(before, after) > 0.01)
    found = estimate_label_shift(ERRORS * before, ERRORS @ after, 1e9, 10**9)
    assert found is not None
    assert found.after == pytest.approx(after, abs=1e-3)
    assert found.weights == pytest.approx(after / before, rel=0.02)
    assert found.total_variation == pytest.approx(total_variation(before, after), abs=1e-3)
    assert found.kept == pytest.approx(1.0, abs=1e-2)


@given(shares, shares, st.integers(100, 5000), st.integers(50, 2000))
def test_an_estimate_is_a_distribution(before: Doubles, answered: Doubles, n: int, m: int) -> None:
    found = estimate_label_shift(ERRORS * before, answered, n, m)
    assert found is not None
    assert (found.after >= 0).all()
    assert found.after.sum() == pytest.approx(1.0)
    assert 0.0 <= found.kept <= 1.0
    assert found.total_variation <= 1.0


def test_a_shift_is_found_on_average_at_its_size() -> None:
    random = np.random.default_rng(1)
    after = np.array([0.25, 0.35, 0.40])
    truth, predicted = draw(PRIOR, 2000, random)
    confusion = joint_confusion(truth, predicted, 3)
    found = [
        estimate_label_shift(confusion, shares_of(draw(after, 500, random)[1]), 2000, 500) for _ in range(100)
    ]
    mean = np.mean([each.after for each in found if each], axis=0)
    # The reference's own sampling error is about 0.02 and common to all; shrinking takes about 4 %.
    assert mean == pytest.approx(after, abs=0.04)
    assert sum(each is not None and each.total_variation > each.noise for each in found) == 100


def test_without_a_shift_the_noise_is_exceeded_as_rarely_as_said() -> None:
    random = np.random.default_rng(2)
    beyond = 0
    for _ in range(400):
        truth, predicted = draw(PRIOR, 1000, random)
        answered = shares_of(draw(PRIOR, 500, random)[1])
        found = estimate_label_shift(joint_confusion(truth, predicted, 3), answered, 1000, 500)
        beyond += found is not None and found.total_variation > found.noise
    # Shrinking and clipping only lower the total variation below that of the raw estimate.
    assert beyond <= binom.ppf(0.9999, 400, 0.01)


def test_the_noise_grows_with_smaller_samples_and_worse_classifiers() -> None:
    def noise(errors: Doubles, n: int, m: int) -> float:
        found = estimate_label_shift(errors * PRIOR, errors @ PRIOR, n, m)
        assert found is not None
        return found.noise

    worse = 0.5 * ERRORS + 0.5 / 3
    assert noise(ERRORS, 2000, 500) < noise(ERRORS, 2000, 100) < noise(ERRORS, 200, 100)
    assert noise(ERRORS, 2000, 500) < noise(worse, 2000, 500)


def test_an_ill_conditioned_matrix_shrinks_the_estimate() -> None:
    blunt = 0.05 * ERRORS + 0.95 / 3
    answered = blunt @ PRIOR + np.array([0.01, -0.01, 0.0])
    sharp = estimate_label_shift(ERRORS * PRIOR, ERRORS @ PRIOR + np.array([0.1, -0.1, 0.0]), 500, 500)
    found = estimate_label_shift(blunt * PRIOR, answered, 500, 500)
    assert found is not None
    assert sharp is not None
    assert found.kept < 0.2
    assert sharp.kept > 0.8
    assert found.total_variation < found.noise


@pytest.mark.parametrize(
    "confusion, n",
    [
        (ERRORS * PRIOR, MIN_REFERENCE - 1),
        (np.outer([0.5, 0.3, 0.2], PRIOR), 5000),
        (np.outer([1.0, 0.0, 0.0], PRIOR), 5000),
    ],
    ids=["small", "singular", "constant answers"],
)
def test_nothing_is_said_where_nothing_can_be_known(confusion: Doubles, n: int) -> None:
    assert estimate_label_shift(confusion, np.array([0.4, 0.4, 0.2]), n, 500) is None


def test_a_class_that_the_reference_lacks_gets_no_share() -> None:
    before = np.array([0.6, 0.4, 0.0])
    found = estimate_label_shift(ERRORS * before, ERRORS @ np.array([0.3, 0.7, 0.0]), 10**6, 10**6)
    assert found is not None
    assert found.after == pytest.approx([0.3, 0.7, 0.0], abs=0.01)
    assert found.weights[2] == 0.0


def gaussian_posteriors(x: Doubles, prior: Doubles) -> Doubles:
    """(n, 3) probabilities of three unit normals at -1.5, 0, 1.5."""
    density = np.exp(-((x[:, None] - np.array([-1.5, 0.0, 1.5])) ** 2) / 2) * prior
    return np.asarray(density / density.sum(axis=1, keepdims=True), dtype=np.float64)


def test_em_finds_the_prior_under_which_the_inputs_are_most_likely() -> None:
    random = np.random.default_rng(3)
    after = np.array([0.2, 0.2, 0.6])
    x = random.normal(np.array([-1.5, 0.0, 1.5])[random.choice(3, 20_000, p=after)])
    found = maximise_prior(gaussian_posteriors(x, PRIOR), PRIOR)
    assert found == pytest.approx(after, abs=0.02)

    def log_likelihood(prior: Doubles) -> float:
        ratio = gaussian_posteriors(x, PRIOR) / PRIOR
        return float(np.log(ratio @ prior).sum())

    for i, j in ((0, 1), (1, 2), (2, 0)):
        moved = found.copy()
        moved[[i, j]] += [0.003, -0.003]
        assert log_likelihood(found) >= log_likelihood(moved)


def test_em_leaves_the_prior_where_nothing_moved_and_a_lacking_class_at_zero() -> None:
    probabilities = np.array([[0.7, 0.3, 0.0], [0.5, 0.5, 0.0]])
    prior = np.array([0.6, 0.4, 0.0])
    assert maximise_prior(probabilities, prior)[2] == 0.0
    x = np.random.default_rng(4).normal(
        np.array([-1.5, 0.0, 1.5])[np.random.default_rng(5).choice(3, 20_000, p=PRIOR)]
    )
    assert maximise_prior(gaussian_posteriors(x, PRIOR), PRIOR) == pytest.approx(PRIOR, abs=0.02)
