"""Known domains and their mixtures: the right weights, exact distances, and quickly."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from monitoring.ks import sort_columns
from monitoring.mixture import MIXTURE, KnownDomains, distances, know_domains, mixture_weights

D = 12


def domain(name: str, n: int, seed: int) -> np.ndarray:
    shift = {"movie": 0.0, "tweets": 1.0, "amazon": -0.7}[name]
    spread = {"movie": 1.0, "tweets": 1.3, "amazon": 0.8}[name]
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, D))
    rows[:, : D // 2] = rows[:, : D // 2] * spread + shift
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def known() -> KnownDomains:
    return know_domains({name: domain(name, 800, i) for i, name in enumerate(("tweets", "movie", "amazon"))})


def test_domains_are_in_alphabetical_order(known: KnownDomains) -> None:
    assert known.names == ("amazon", "movie", "tweets")
    assert len(known.rows) == len(known.references) == 3


def test_distance_to_each_domain_is_exact(known: KnownDomains) -> None:
    window = domain("movie", 300, 10)
    for found, rows in zip(distances(known, window), known.rows, strict=False):
        expected = [ks_2samp(a, b, method="asymp").statistic for a, b in zip(rows.T, window.T, strict=True)]
        np.testing.assert_allclose(found.ks, expected, atol=1e-12)


def test_distance_to_the_mixture_is_exact(known: KnownDomains) -> None:
    window = np.vstack([domain("movie", 200, 11), domain("tweets", 100, 12)])
    mixture = distances(known, window)[-1]
    assert mixture.name == MIXTURE
    for f in range(D):
        points = np.sort(np.concatenate([rows[:, f] for rows in (*known.rows, window)]))
        blended = sum(
            weight * np.searchsorted(np.sort(rows[:, f]), points, side="right") / len(rows)
            for weight, rows in zip(mixture.weights, known.rows, strict=True)
        )
        observed = np.searchsorted(np.sort(window[:, f]), points, side="right") / len(window)
        assert mixture.ks[f] == pytest.approx(np.abs(blended - observed).max(), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.0, 1.0), seed=st.integers(100, 10_000))
def test_weights_are_convex_and_near_the_true_shares(share: float, seed: int) -> None:
    known = know_domains({name: domain(name, 800, i) for i, name in enumerate(("movie", "tweets"))})
    n = round(500 * share)
    window = np.vstack([domain("movie", 500 - n, seed), domain("tweets", n, seed + 1)])
    weights = mixture_weights(known, sort_columns(window))
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0)
    assert weights[1] == pytest.approx(n / 500, abs=0.12)


def test_a_mixture_is_nearer_than_any_of_its_parts(known: KnownDomains) -> None:
    window = np.vstack([domain("amazon", 250, 13), domain("tweets", 250, 14)])
    *parts, mixture = distances(known, window)
    assert mixture.energy < 0.3 * min(part.energy for part in parts)
    assert mixture.max_ks < 0.7 * min(part.max_ks for part in parts)


def test_a_window_outside_the_hull_stays_far(known: KnownDomains) -> None:
    window = domain("movie", 500, 15) + 3.0
    assert min(each.max_ks for each in distances(known, window)) > 0.8


def test_one_domain_has_no_mixture() -> None:
    known = know_domains({"movie": domain("movie", 100, 0)})
    found = distances(known, domain("movie", 50, 1))
    assert [each.name for each in found] == ["movie"]
    assert found[0].weights.tolist() == [1.0]


def test_the_same_window_gives_the_same_bits(known: KnownDomains) -> None:
    window = domain("movie", 300, 16)
    first, second = (distances(known, window)[-1] for _ in range(2))
    assert first.weights.tolist() == second.weights.tolist()


def test_constant_features_do_no_harm() -> None:
    known = know_domains({"a": np.zeros((60, 2)), "b": np.column_stack([np.zeros(60), np.ones(60)])})
    mixture = distances(known, np.column_stack([np.zeros(50), np.repeat([0.0, 1.0], 25)]))[-1]
    assert mixture.weights.tolist() == pytest.approx([0.5, 0.5])
    assert mixture.max_ks == pytest.approx(0.0, abs=1e-9)


def test_domains_with_other_features_are_refused() -> None:
    with pytest.raises(ValueError, match="same features"):
        know_domains({"a": np.zeros((5, 2)), "b": np.zeros((5, 3))})
    with pytest.raises(ValueError, match="at least one domain"):
        know_domains({})


def test_five_domains_with_43_features_take_milliseconds() -> None:
    random = np.random.default_rng(0)
    rows = {f"d{i}": random.normal(i, 1, size=(1500, 43)).astype(np.float32) for i in range(5)}
    known, window = know_domains(rows), random.normal(size=(500, 43)).astype(np.float32)
    times = []
    for _ in range(5):
        began = time.process_time()
        distances(known, window)
        times.append(time.process_time() - began)
    assert min(times) < 0.05  # measured 0.007; the bound leaves room for a busy machine
