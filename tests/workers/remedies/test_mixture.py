"""The classes' shares by a mixture of normals: against scipy's density, and on clouds whose shares are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from workers.remedies.mixture import COMPONENTS, FEWEST, _log_joint, mixture_shares, principal

N = 2000
# Four standard errors of a share of 2,000 texts, and as much again for texts that lie between the classes.
BAND = 8 * 0.5 / N**0.5


def clouds(
    shares: tuple[float, ...], seed: int = 0, h: int = 24
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(N, h) states and (N,) classes; every class has a place and a spread of its own."""
    random = np.random.default_rng(seed)
    truth = random.choice(len(shares), size=N, p=shares)
    places = 6.0 * np.eye(len(shares), h)
    spread = 1.0 + 0.5 * np.arange(len(shares))[truth]
    states = places[truth] + spread[:, None] * random.normal(size=(N, h))
    return states.astype(np.float32), truth.astype(np.int64)


def answers(truth: NDArray[np.int64], wrong: float, k: int) -> NDArray[np.int64]:
    """A champion that takes texts of the last class for the first, this share of them."""
    random = np.random.default_rng(1)
    mistaken = (truth == k - 1) & (random.random(len(truth)) < wrong)
    return np.where(mistaken, 0, truth)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.3, 0.7), (0.8, 0.2), (0.2, 0.3, 0.5)])
def test_the_shares_are_found_though_the_champion_answers_others(shares: tuple[float, ...]) -> None:
    states, truth = clouds(shares)
    k = len(shares)
    answered = answers(truth, 0.6, k)
    assert abs((answered == k - 1).mean() - shares[-1]) > BAND
    found = mixture_shares(states, answered, k)
    assert found is not None
    assert found == pytest.approx(np.bincount(truth, minlength=k) / N, abs=BAND)
    assert found.sum() == pytest.approx(1.0)


def test_an_offset_of_all_states_changes_nothing() -> None:
    states, truth = clouds((0.3, 0.7))
    answered = answers(truth, 0.4, 2)
    moved = states + np.random.default_rng(2).normal(size=24).astype(np.float32) * 3
    assert mixture_shares(moved, answered, 2) == pytest.approx(mixture_shares(states, answered, 2), abs=1e-3)


def test_the_density_is_that_of_normals() -> None:
    """Against scipy, with the weighted mean and covariance of numpy."""
    random = np.random.default_rng(3)
    rows, taken = random.normal(size=(200, 4)) @ random.normal(size=(4, 4)), random.dirichlet([1.0, 2.0], 200)
    found = _log_joint(rows, taken)
    for c in range(2):
        mean = np.average(rows, axis=0, weights=taken[:, c])
        covariance = np.cov(rows.T, aweights=taken[:, c], ddof=0)
        expected = multivariate_normal.logpdf(rows, mean, covariance) + np.log(taken[:, c].mean())
        # The common constant of the density is left out, and a ridge is added.
        assert found[:, c] + (-2 * np.log(2 * np.pi)) == pytest.approx(expected, abs=1e-3)


def test_principal_components_are_those_of_the_covariance() -> None:
    states = clouds((0.5, 0.5))[0].astype(np.float64)
    rows = principal(states, COMPONENTS)
    expected = np.sort(np.linalg.eigvalsh(np.cov(states.T)))[::-1][:COMPONENTS]
    assert rows.var(axis=0, ddof=1) == pytest.approx(expected, rel=1e-6)
    assert np.abs(np.corrcoef(rows.T) - np.eye(COMPONENTS)).max() < 1e-6
    assert principal(states[:, :3], COMPONENTS).shape == (N, 3)


def test_a_class_that_is_hardly_answered_has_no_share_to_tell() -> None:
    states, truth = clouds((0.5, 0.5))
    rare = np.zeros_like(truth)
    rare[: FEWEST - 1] = 1
    assert mixture_shares(states, rare, 2) is None
    assert mixture_shares(states, np.minimum(truth, 1), 3) is None


def test_states_without_spread_are_no_class() -> None:
    """All texts alike: the responsibilities stay those of the answers, or a class runs empty; never a nan."""
    states = np.ones((200, 24), dtype=np.float32)
    found = mixture_shares(states + np.eye(200, 24, dtype=np.float32) * 1e-4, np.arange(200) % 2, 2)
    assert found is None or np.isfinite(found).all()
