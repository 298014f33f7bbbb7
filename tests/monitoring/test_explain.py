"""Explanations: exact statistics, shares that are lower bounds, and the right inputs, texts and clients named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, ks_2samp

from monitoring.explain import (
    NOT_NAMED,
    Novelty,
    Window,
    concentrated,
    drifted_features,
    explain,
    find_novelty,
    known_rows,
)
from monitoring.histograms import Floats, bin_rows, count, distribution, energy, ks_binned
from monitoring.mixture import KnownDomains, hypotheses, know_domains
from trimtab.drift import Share
from trimtab.features import FeatureMap, References

FEATURE_MAP = FeatureMap(np.zeros(4, np.float32), np.eye(2, 4, dtype=np.float32), ("neg", "pos"))
NAMES = FEATURE_MAP.names
D = len(NAMES)


def normal(n: int, seed: int, centre: float = 0.0) -> Floats:
    """n rows; the centre moves half of the features."""
    rows = np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)
    rows[:, ::2] += centre
    return rows


def references_of(**rows: Floats) -> References:
    keys = {name: tuple(f"{name}-{i}" for i in range(len(each))) for name, each in rows.items()}
    return References(FEATURE_MAP, rows, keys=keys)


ONE = references_of(film=normal(1500, 1))
KNOWN = know_domains(ONE.rows)
FILM = KNOWN.domains[0]


def window_of(rows: Floats, clients: tuple[str, ...] | None = None) -> Window:
    n = len(rows)
    return Window(
        rows=rows,
        predicted=np.zeros(n, dtype=np.int64),
        clients=clients or ("a",) * n,
        domains=(None,) * n,
        prediction_ids=tuple(f"p{i}" for i in range(n)),
    )


def mixed(n: int, new: float, seed: int, centre: float = 3.0) -> tuple[Floats, list[int]]:
    """n rows of which a share is new, shuffled; and where those are."""
    rows = normal(n, seed)
    chosen = np.random.default_rng(seed + 1).permutation(n)[: round(new * n)]
    rows[chosen] = normal(len(chosen), seed + 2, centre)
    return rows, chosen.tolist()


def novelty_of(rows: Floats) -> Novelty:
    return find_novelty(KNOWN, FILM, ONE, rows)


def energy_threshold(known: KnownDomains, size: int) -> float:
    """The largest energy of 200 windows without drift."""
    windows = (distribution(count(bin_rows(known.edges, normal(size, 7000 + i)))) for i in range(200))
    return max(energy(ks_binned(known.distributions[0], window)) for window in windows)


def test_features_are_exact_and_in_order() -> None:
    rows = normal(400, 2, 0.6)
    found = drifted_features(ONE.rows["film"], rows, NAMES)
    exact = {name: ks_2samp(ONE.rows["film"][:, i], rows[:, i]) for i, name in enumerate(NAMES)}
    total = sum(test.statistic**2 for test in exact.values())
    assert len(found) == 7 + 1  # the moved half, and one more
    largest = sorted((float(test.statistic) for test in exact.values()), reverse=True)[:8]
    assert [each.ks for each in found] == pytest.approx(largest)
    for each in found:
        assert each.ks == pytest.approx(exact[each.name].statistic)
        assert each.share == pytest.approx(exact[each.name].statistic ** 2 / total)
        assert each.p_value is not None
    assert found[0].p_value is not None
    assert found[0].p_value < 1e-6 < max(each.p_value or 0.0 for each in found)


@given(st.integers(0, 10_000), st.integers(1, 60), st.booleans())
def test_histograms_are_shares_on_the_references_quantiles(seed: int, n: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    before, rows = (random.normal(size=(size, 2)).astype(np.float32) for size in (200, n))
    if ties:
        before, rows = np.round(before), np.round(rows)
    for each in drifted_features(before, rows, ("x", "y")):
        i = ("x", "y").index(each.name)
        assert len(each.edges) == 15
        assert sum(each.before) == pytest.approx(1.0)
        assert sum(each.after) == pytest.approx(1.0)
        for k, edge in enumerate(each.edges):
            below = float((rows[:, i] <= edge).mean())
            # Of equal edges the first collects: only the last of them has the cumulated share.
            if k == 14 or each.edges[k + 1] > edge:
                assert sum(each.after[: k + 1]) == pytest.approx(below)


def test_without_drift_nothing_looks_new() -> None:
    """The bound of the unexplained share is above 0 as rarely as it says, and the AUC is near one half."""
    found = [novelty_of(normal(500, 100 + seed)) for seed in range(100)]
    assert sum(each.unexplained[1] > 0.0 for each in found) <= binom.ppf(0.9999, 100, 0.01)
    assert np.mean([each.separability for each in found]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_the_unexplained_share_is_a_lower_bound_that_is_nearly_reached(share: float) -> None:
    found = [novelty_of(mixed(500, share, 10 * seed)[0]).unexplained for seed in range(20)]
    assert np.mean([estimate for estimate, _ in found]) == pytest.approx(share, abs=0.03)
    assert sum(low > share for _, low in found) <= binom.ppf(0.9999, 20, 0.01)
    assert min(low for _, low in found) > 0.3 * share


def test_a_change_of_spread_is_seen_too() -> None:
    found = novelty_of(normal(500, 5) * np.float32(1.5))
    assert found.separability > 0.75
    assert found.unexplained[1] > 0.2


def test_separability_is_the_share_of_pairs_in_order() -> None:
    found = novelty_of(normal(120, 6, 0.5))
    pairs = found.scores[:, None] - found.known_scores
    assert found.separability == pytest.approx(float((pairs > 0).mean() + (pairs == 0).mean() / 2))


def test_typical_new_inputs_are_new_and_the_nearest_old_ones_are_known_texts() -> None:
    rows, new = mixed(500, 0.1, 20)
    found = explain(KNOWN, FILM, ONE, window_of(rows), NAMES)
    assert len(found.typical_new) == 10
    assert {int(each[1:]) for each in found.typical_new} <= set(new)
    nearest = np.square(
        (ONE.rows["film"] - rows[int(found.typical_new[0][1:])]) / ONE.rows["film"].std(axis=0)
    ).sum(axis=1)
    assert found.nearest_old[0] == f"film-{nearest.argmin()}"
    assert len(set(found.nearest_old)) == len(found.nearest_old) <= 10
    assert found.separability > 0.5


def test_shares_say_who_sent_what_is_new() -> None:
    rows, new = mixed(500, 0.2, 30)
    domains = tuple("tweets" if i in new else ("film" if i % 2 else None) for i in range(500))
    clients = tuple("bot" if i in new else f"user {i % 7}" for i in range(500))
    window = replace(window_of(rows, clients), domains=domains)
    found = explain(KNOWN, FILM, ONE, window, NAMES)
    assert found.clients[0].name == "bot"
    assert found.clients[0].share == pytest.approx(0.2)
    assert found.clients[0].share_new > 0.8
    assert found.clients[0].share_before is None
    assert len(found.clients) == 5
    shares = {each.name: each for each in found.domains}
    assert set(shares) == {"tweets", "film", NOT_NAMED}
    assert shares["film"].share_before == 1.0
    assert shares["tweets"].share_before == 0.0
    assert sum(each.share for each in found.domains) == pytest.approx(1.0)


def test_known_rows_have_the_shares_of_the_hypothesis() -> None:
    two = references_of(film=normal(1500, 1), shop=normal(600, 2, 2.0))
    known = know_domains(two.rows)
    window = np.concatenate([normal(300, 3), normal(100, 4, 2.0)])
    mixture = hypotheses(known, distribution(count(bin_rows(known.edges, window))))[-1]
    rows, keys = known_rows(known, mixture, two)
    films = sum(key.startswith("film") for key in keys)
    assert len(rows) == len(keys) == len(set(keys)) <= 2000
    assert films / len(keys) == pytest.approx(mixture.weights[0], abs=0.01)
    assert films / len(keys) == pytest.approx(0.75, abs=0.05)
    found = find_novelty(known, mixture, two, window)
    assert found.unexplained[1] == 0.0


def sources(new_by: str, n: int = 500, clients: int = 5) -> Window:
    """Each of several clients sends as much; the new fifth comes from one of them or from all."""
    names = tuple(f"client {i % clients}" for i in range(n))
    rows = normal(n, 40)
    theirs = [i for i, name in enumerate(names) if new_by in (name, "all")]
    chosen = theirs if new_by != "all" else theirs[:: clients + 1]
    rows[chosen] = normal(len(chosen), 41, 3.0)
    return window_of(rows, names)


def source_of(window: Window, threshold: float = energy_threshold(KNOWN, 500)) -> Share | None:
    return concentrated(KNOWN, window, novelty_of(window.rows), threshold=threshold, n_reference=1500)


def test_one_clients_traffic_is_named() -> None:
    found = source_of(sources("client 3"))
    assert found is not None
    assert found.name == "client 3"
    assert found.share == pytest.approx(0.2)
    assert found.share_new > 0.8


def test_drift_of_everybody_is_nobodys() -> None:
    assert source_of(sources("all")) is None


def test_a_large_client_among_others_who_drift_alike_is_not_the_source() -> None:
    rows, _ = mixed(500, 0.3, 50)
    assert source_of(window_of(rows, tuple("big" if i % 5 else "small" for i in range(500)))) is None


def test_a_client_is_not_the_source_while_the_others_drift_too() -> None:
    window = sources("client 3")
    rows = window.rows.copy()
    others = [i for i, name in enumerate(window.clients) if name != "client 3"]
    rows[others[::4]] = normal(len(others[::4]), 60, 3.0)
    assert source_of(replace(window, rows=rows)) is None


def test_a_single_client_is_not_one_of_several() -> None:
    assert source_of(window_of(normal(500, 70, 2.0))) is None
    few = ("other",) * 50 + ("a",) * 450
    assert source_of(window_of(normal(500, 70, 2.0), few)) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 140))
def test_a_small_window_is_explained_as_well(n: int) -> None:
    found = explain(KNOWN, FILM, ONE, window_of(normal(n, n, 1.0)), NAMES)
    assert len(found.typical_new) == min(n, 10)
    assert 0.0 <= found.unexplained_low <= found.unexplained_share + 0.05 <= 1.05
    assert np.isfinite(found.separability)


def test_the_order_of_features_does_not_matter() -> None:
    rows, _ = mixed(300, 0.3, 80)
    turned = np.random.default_rng(0).permutation(D)
    other = References(FEATURE_MAP, {"film": ONE.rows["film"][:, turned]}, keys=ONE.keys)
    known = know_domains(other.rows)
    one = explain(KNOWN, FILM, ONE, window_of(rows), NAMES)
    two = explain(known, known.domains[0], other, window_of(rows[:, turned]), [NAMES[i] for i in turned])
    assert two.unexplained_share == pytest.approx(one.unexplained_share, abs=1e-9)
    assert two.typical_new == one.typical_new
    assert {each.name for each in two.features} == {each.name for each in one.features}
