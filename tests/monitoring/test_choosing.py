"""Which texts are asked for: random where it must be, odd where it may be, never twice the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, kstest

from monitoring.choosing import NEAR, Candidates, choose, directions
from trimtab.ledger.label_requests import AT_RANDOM, Reason
from trimtab.splits import LABEL_PARTS, choose_part, unit_of

N = 2_000


def window(n: int = N, *, seed: int = 5, d: int = 8) -> Candidates:
    random_ = np.random.default_rng(seed)
    keys = [f"text {i}" for i in range(n)]
    return Candidates(
        parts=tuple(choose_part(key, LABEL_PARTS, "labels") for key in keys),
        labels=tuple(random_.choice(["neg", "pos"], n, p=[0.1, 0.9])),
        scores=random_.uniform(0.5, 1.0, n),
        units=np.array([unit_of(key, "job") for key in keys]),
        features=random_.normal(size=(n, d)),
        disputed=random_.random(n) < 0.05,
        free=np.ones(n, dtype=bool),
    )


WINDOW = window()
WANTED = {"gate": 150, "selection": 30, "train": 200}


def reasons(chosen: dict[int, Reason], candidates: Candidates, part: str) -> Counter[Reason]:
    return Counter(reason for index, reason in chosen.items() if candidates.parts[index] == part)


def test_what_judges_is_drawn_at_random_and_at_least_half_of_the_rest() -> None:
    chosen = choose(WINDOW, WANTED, {})
    assert reasons(chosen, WINDOW, "gate") == {Reason.GATE: 150}
    assert reasons(chosen, WINDOW, "selection") == {Reason.RANDOM: 30}
    assert reasons(chosen, WINDOW, "train") == {
        Reason.RANDOM: 100, Reason.DISAGREEMENT: 40, Reason.UNCERTAIN: 40, Reason.CONFIDENT: 20,
    }  # fmt: skip


@pytest.mark.parametrize("wanted", [{"train": n} for n in (1, 2, 3, 7, 50)] + [WANTED])
@pytest.mark.parametrize("short", [{}, {"neg": 40}])
def test_half_is_random_whatever_is_wanted(wanted: dict[str, int], short: dict[str, int]) -> None:
    chosen = choose(WINDOW, wanted, short)
    assert len(chosen) == sum(wanted.values())
    assert 2 * sum(reason in AT_RANDOM for reason in chosen.values()) >= len(chosen)
    odd = {index for index, reason in chosen.items() if reason not in AT_RANDOM}
    assert {WINDOW.parts[index] for index in odd} <= {"train"}


def test_random_texts_are_like_the_window() -> None:
    """Whether the model is right must not matter for being drawn: here it is right where the score is high."""
    right = WINDOW.scores > 0.6
    drawn = [index for index, reason in choose(WINDOW, WANTED, {}).items() if reason in AT_RANDOM]
    low, high = binom.interval(0.999, len(drawn), right.mean())
    assert low <= right[drawn].sum() <= high
    assert kstest(WINDOW.scores[drawn], WINDOW.scores).pvalue > 0.001


def test_the_draw_depends_on_the_texts_and_the_job_only() -> None:
    order = np.random.default_rng(1).permutation(N)
    shuffled = Candidates(
        parts=tuple(WINDOW.parts[i] for i in order),
        labels=tuple(WINDOW.labels[i] for i in order),
        scores=WINDOW.scores[order],
        units=WINDOW.units[order],
        features=WINDOW.features[order],
        disputed=WINDOW.disputed[order],
        free=WINDOW.free[order],
    )
    again = {int(order[i]): reason for i, reason in choose(shuffled, WANTED, {}).items()}
    assert again == choose(WINDOW, WANTED, {})
    other_job = replace(WINDOW, units=np.array([unit_of(f"text {i}", "other") for i in range(N)]))
    assert set(choose(other_job, WANTED, {})) != set(again)


def test_uncertain_confident_and_disputed_are_what_they_say() -> None:
    chosen = choose(WINDOW, WANTED, {})
    by_reason = {each: [i for i, reason in chosen.items() if reason is each] for each in Reason}
    assert WINDOW.scores[by_reason[Reason.UNCERTAIN]].mean() < np.quantile(WINDOW.scores, 0.4)
    assert WINDOW.scores[by_reason[Reason.CONFIDENT]].min() >= np.quantile(WINDOW.scores, 0.75)
    assert WINDOW.disputed[by_reason[Reason.DISAGREEMENT]].all()


def test_uncertain_texts_lie_where_the_traffic_is() -> None:
    """Two clusters and a few outliers, all equally unsure: the outliers are left alone."""
    random_ = np.random.default_rng(2)
    features = np.vstack([random_.normal(3.0, 1.0, (990, 6)), random_.normal(-30.0, 1.0, (10, 6))])
    candidates = replace(
        window(1000), features=features, scores=np.full(1000, 0.5), disputed=np.zeros(1000, dtype=bool)
    )
    chosen = choose(candidates, {"train": 100}, {})
    unsure = [index for index, reason in chosen.items() if reason is Reason.UNCERTAIN]
    assert len(unsure) >= 10
    assert max(unsure) < 990


def test_near_duplicates_are_asked_once_where_the_choice_is_ours() -> None:
    """A hundred uncertain copies of one template, and one that was asked for before."""
    features = WINDOW.features.copy()
    copies = np.flatnonzero(np.array(WINDOW.parts) == "train")[:100]
    features[copies] = features[copies[0]] + np.random.default_rng(3).normal(scale=1e-3, size=(100, 8))
    scores = WINDOW.scores.copy()
    scores[copies] = 0.5
    flooded = replace(WINDOW, features=features, scores=scores, disputed=np.zeros(N, dtype=bool))
    chosen = choose(flooded, {"train": 200}, {})
    odd = [index for index, reason in chosen.items() if reason not in AT_RANDOM]
    unit = directions(features)
    near = unit[odd] @ unit[odd].T - np.eye(len(odd))
    assert near.max() <= NEAR
    assert len(set(odd) & set(copies)) <= 1
    asked_before = choose(flooded, {"train": 200}, {}, [int(copies[0])])
    assert not [i for i, reason in asked_before.items() if reason not in AT_RANDOM and i in set(copies)]


def test_a_class_that_lacks_labels_is_asked_for_by_what_is_predicted() -> None:
    chosen = choose(WINDOW, {"train": 60}, {"neg": 20})
    rare = [index for index, reason in chosen.items() if reason is Reason.RARE]
    expected = sum(WINDOW.labels[i] == "neg" for i, reason in chosen.items() if reason in AT_RANDOM)
    assert {WINDOW.labels[index] for index in rare} == {"neg"}
    assert len(rare) == 20 - expected


def test_what_may_not_be_asked_is_not() -> None:
    free = np.random.default_rng(4).random(N) < 0.5
    assert free[list(choose(replace(WINDOW, free=free), WANTED, {"neg": 20}))].all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_small_window_gives_what_it_has(n: int) -> None:
    small = window(n)
    chosen = choose(small, WANTED, {"neg": 3})
    assert set(chosen) == set(range(n))


def test_features_that_do_not_vary_say_nothing() -> None:
    rows = directions(np.array([[1.0, 7.0], [-1.0, 7.0], [1.0, 7.0]]))
    np.testing.assert_allclose(rows, [[1.0], [-1.0], [1.0]])
