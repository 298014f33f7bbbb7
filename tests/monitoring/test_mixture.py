"""Known domains and their mixtures: the right weights, and quickly."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.histograms import bin_rows, count, distribution, energy, ks_binned
from monitoring.mixture import (
    MIXTURE,
    KnownDomains,
    blend,
    effective_rows,
    hypotheses,
    know_domains,
    mix,
    mixture_weights,
)

D = 12


def domain(name: str, n: int, seed: int) -> np.ndarray:
    shift = {"movie": 0.0, "tweets": 1.0, "amazon": -0.7}[name]
    spread = {"movie": 1.0, "tweets": 1.3, "amazon": 0.8}[name]
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, D))
    rows[:, : D // 2] = rows[:, : D // 2] * spread + shift
    return rows.astype(np.float32)


def seen(known: KnownDomains, window: np.ndarray) -> np.ndarray:
    return distribution(count(bin_rows(known.edges, window)))


def distances(known: KnownDomains, window: np.ndarray) -> dict[str, np.ndarray]:
    found = seen(known, window)
    return {each.name: ks_binned(found, each.distribution) for each in hypotheses(known, found)}


@pytest.fixture(scope="module")
def known() -> KnownDomains:
    return know_domains({name: domain(name, 800, i) for i, name in enumerate(("tweets", "movie", "amazon"))})


def test_domains_are_in_alphabetical_order(known: KnownDomains) -> None:
    assert known.names == ("amazon", "movie", "tweets")
    assert [each.name for each in known.domains] == list(known.names)
    for i, name in enumerate(known.names):
        np.testing.assert_array_equal(
            known.rows[i], domain(name, 800, ("tweets", "movie", "amazon").index(name))
        )
        assert ks_binned(seen(known, known.rows[i]), known.distributions[i]).max() == 0.0


def test_shapes_are_as_promised(known: KnownDomains) -> None:
    assert known.n_features == D
    assert known.edges.shape == (D, 63)
    assert known.counts.shape == known.distributions.shape == (3, D, 64)
    assert (known.counts.sum(axis=2) == 800).all()


def test_hypotheses_are_the_domains_and_their_mixture(known: KnownDomains) -> None:
    found = hypotheses(known, seen(known, domain("movie", 300, 10)))
    assert [each.name for each in found] == ["amazon", "movie", "tweets", MIXTURE]
    for each in found:
        assert each.weights.sum() == pytest.approx(1.0)
        np.testing.assert_allclose(each.distribution, mix(known, each.weights), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.0, 1.0), seed=st.integers(100, 10_000))
def test_weights_are_convex_and_near_the_true_shares(share: float, seed: int) -> None:
    known = know_domains({name: domain(name, 800, i) for i, name in enumerate(("movie", "tweets"))})
    n = round(500 * share)
    window = np.vstack([domain("movie", 500 - n, seed), domain("tweets", n, seed + 1)])
    weights = mixture_weights(known, seen(known, window))
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0)
    assert weights[1] == pytest.approx(n / 500, abs=0.12)


def test_no_other_weights_are_nearer(known: KnownDomains) -> None:
    target = seen(known, np.vstack([domain("amazon", 200, 17), domain("tweets", 90, 18)]))
    best = np.square(mix(known, mixture_weights(known, target)) - target).sum()
    others = np.random.default_rng(0).dirichlet(np.ones(3), size=300)
    assert best <= min(np.square(mix(known, each) - target).sum() for each in others) + 1e-9


def test_a_mixture_is_nearer_than_any_of_its_parts(known: KnownDomains) -> None:
    window = np.vstack([domain("amazon", 250, 13), domain("tweets", 250, 14)])
    found = distances(known, window)
    mixture = found.pop(MIXTURE)
    assert energy(mixture) < 0.3 * min(energy(part) for part in found.values())
    assert mixture.max() < 0.7 * min(part.max() for part in found.values())


def test_a_window_outside_the_hull_stays_far(known: KnownDomains) -> None:
    window = domain("movie", 500, 15) + 3.0
    assert min(each.max() for each in distances(known, window).values()) > 0.8


def test_one_domain_has_no_mixture() -> None:
    known = know_domains({"movie": domain("movie", 100, 0)})
    found = hypotheses(known, seen(known, domain("movie", 50, 1)))
    assert [each.name for each in found] == ["movie"]
    assert found[0].weights.tolist() == [1.0]


def test_the_same_window_gives_the_same_bits(known: KnownDomains) -> None:
    window = seen(known, domain("movie", 300, 16))
    first, second = (mixture_weights(known, window) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_constant_features_do_no_harm() -> None:
    known = know_domains({"a": np.zeros((60, 2)), "b": np.column_stack([np.zeros(60), np.ones(60)])})
    window = np.column_stack([np.zeros(50), np.repeat([0.0, 1.0], 25)])
    assert mixture_weights(known, seen(known, window)).tolist() == pytest.approx([0.5, 0.5])
    assert distances(known, window)[MIXTURE].max() == pytest.approx(0.0, abs=1e-9)


def test_a_blend_has_rows_in_the_shares_asked_for(known: KnownDomains) -> None:
    rows = blend(known, np.array([0.25, 0.0, 0.75]))
    assert len(rows) == 800
    assert ks_binned(seen(known, rows), mix(known, np.array([0.25, 0.0, 0.75]))).max() < 0.06


def test_a_mixture_of_equals_is_known_twice_as_well() -> None:
    known = know_domains({name: domain(name, 500, 0) for name in ("movie", "tweets")})
    assert effective_rows(known, np.array([1.0, 0.0])) == pytest.approx(500)
    assert effective_rows(known, np.array([0.5, 0.5])) == pytest.approx(1000)


def test_domains_with_other_features_are_refused() -> None:
    with pytest.raises(ValueError, match="same features"):
        know_domains({"a": np.zeros((5, 2)), "b": np.zeros((5, 3))})
    with pytest.raises(ValueError, match="at least one domain"):
        know_domains({})


def test_five_domains_with_43_features_take_milliseconds() -> None:
    random = np.random.default_rng(0)
    rows = {f"d{i}": random.normal(i, 1, size=(1500, 43)).astype(np.float32) for i in range(5)}
    known = know_domains(rows)
    window = seen(known, random.normal(size=(500, 43)))
    times = []
    for _ in range(5):
        began = time.process_time()
        hypotheses(known, window)
        times.append(time.process_time() - began)
    assert min(times) < 0.02  # measured 0.0001; the bound leaves room for a slower machine
