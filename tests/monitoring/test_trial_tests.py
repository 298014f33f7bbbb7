"""What is made of answers and labels of a version on trial, without a ledger: rules, tests and their error rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import binom

from monitoring.check import Baseline
from monitoring.mixture import know_domains
from monitoring.trial_tests import (
    WAYS,
    Seen,
    accuracies,
    explained_by_gate,
    guarded,
    matched,
    paired,
    see_canary,
    see_shadow,
    shares_away,
)
from tests.fixtures.references import LABELS, labelled, traffic
from tests.monitoring.test_evidence import THRESHOLDS, samples_of
from trimtab.ledger.trial_answers import Judged
from trimtab.ledger.windows import PredictionWindow
from trimtab.settings import DriftSettings, Settings, TrialSettings
from trimtab.stats.sequential import upper_bound

SETTINGS = TrialSettings(shadow_requests=1000, stage_requests=200, stage_s=600.0)
ALL = Settings(trial=SETTINGS, drift=DriftSettings(window=200, long_window=400, check_every=50))
NEG, POS = LABELS
ALIKE = {(NEG, NEG): 480, (POS, POS): 480, (NEG, POS): 20, (POS, NEG): 20}
OTHERWISE = {(NEG, NEG): 350, (POS, POS): 350, (NEG, POS): 150, (POS, NEG): 150}


def baseline_of(*shares: float) -> Baseline:
    """Answers "pos" in such a share on each of its domains."""
    rows = {f"d{i}": traffic(400, float(i), seed=i) for i in range(len(shares))}
    answered = {
        name: (np.arange(400) < 400 * share).astype(np.int64)
        for name, share in zip(rows, shares, strict=True)
    }
    references = replace(labelled(rows), predicted=answered)
    return Baseline(2, know_domains(rows), references, (THRESHOLDS,) * len(rows))


HALF = baseline_of(0.5)


def both(right: bool, shadow_right: bool) -> Judged:
    return Judged(by_challenger=False, right=right, shadow_right=shadow_right)


GAINED, LOST, SAME = both(False, True), both(True, False), both(True, True)


def own(right: bool) -> Judged:
    return Judged(by_challenger=True, right=right, shadow_right=None)


def champions(right: bool) -> Judged:
    return Judged(by_challenger=False, right=right, shadow_right=None)


def shadow(
    pairs: Mapping[tuple[str, str], int],
    *labels: Judged,
    expected: float = 0.0,
    baseline: Baseline | None = HALF,
) -> Seen:
    return see_shadow(pairs, labels, expected=expected, baseline=baseline, settings=SETTINGS)


class TestShadow:
    def test_nothing_yet(self) -> None:
        seen = shadow({})
        assert (seen.done, seen.broken) == (False, "")
        assert (seen.evidence["n"], seen.evidence["disagreement"], seen.evidence["shares_away"]) == (
            0,
            None,
            None,
        )

    def test_one_that_answers_as_the_champion_does_is_done(self) -> None:
        seen = shadow(ALIKE)
        assert (seen.done, seen.broken) == (True, "")
        assert seen.evidence["disagreement"] == 0.04
        assert seen.evidence["shares_away"] == pytest.approx(0.0, abs=1e-9)

    def test_before_there_are_enough_answers_differences_decide_nothing(self) -> None:
        few = {pair: n // 2 for pair, n in OTHERWISE.items()}
        assert (shadow(few).done, shadow(few).broken) == (False, "")

    def test_one_that_answers_otherwise_without_a_reason_is_rejected(self) -> None:
        seen = shadow(OTHERWISE)
        assert "30.0% of 1000 requests otherwise" in seen.broken
        assert "15.0% are explained" in seen.broken

    def test_what_the_gates_labels_have_shown_to_be_a_gain_is_explained(self) -> None:
        assert shadow(OTHERWISE, expected=0.2).broken == ""

    @pytest.mark.parametrize(
        ("gained", "lost", "explained"),
        [(5, 0, True), (4, 0, False), (14, 6, False), (15, 5, True), (5, 15, False)],
    )
    def test_labels_explain_differences_when_they_are_gains(
        self, gained: int, lost: int, explained: bool
    ) -> None:
        """By a one-sided sign test at 5 %: 5 of 5 and 15 of 20 are, 4 of 4 and 14 of 20 are not."""
        seen = shadow(OTHERWISE, *[GAINED] * gained, *[LOST] * lost)
        assert (seen.broken == "") is explained
        assert (seen.evidence["gained"], seen.evidence["lost"]) == (gained, lost)

    def test_class_shares_that_no_domain_explains_reject(self) -> None:
        lopsided = {(NEG, NEG): 180, (POS, POS): 720, (NEG, POS): 50, (POS, NEG): 50}
        assert "class shares are 0.27 away" in shadow(lopsided).broken
        assert shadow(lopsided, baseline=baseline_of(0.5, 0.9)).broken == ""
        assert shadow(lopsided, baseline=None).broken == ""

    def test_labels_stop_it_long_before_there_are_enough_answers(self) -> None:
        seen = shadow({(POS, POS): 60, (POS, NEG): 40}, *[LOST, LOST, SAME] * 20)
        assert "worse than the champion by more than 3.0%" in seen.broken
        assert not seen.done
        assert seen.evidence["statistic"] >= seen.evidence["threshold"]


class TestCanary:
    def see(self, n: int, *labels: Judged, elapsed_s: float = 0.0) -> Seen:
        return see_canary(n, labels, elapsed_s=elapsed_s, settings=SETTINGS)

    @pytest.mark.parametrize(
        ("n", "elapsed_s", "done"), [(0, 0.0, False), (199, 599.0, False), (200, 1.0, True), (3, 600.0, True)]
    )
    def test_a_stage_ends_by_answers_or_by_time(self, n: int, elapsed_s: float, done: bool) -> None:
        assert self.see(n, elapsed_s=elapsed_s).done is done

    def test_one_that_is_worse_is_stopped(self) -> None:
        labels = [each for _ in range(100) for each in (champions(True), own(False))]
        seen = self.see(100, *labels)
        assert "worse than the champion" in seen.broken
        assert (seen.evidence["n_labels"], seen.evidence["accuracy"], seen.evidence["champion_accuracy"]) == (
            100, 0.0, 1.0,
        )  # fmt: skip

    def test_one_that_is_as_bad_as_the_champion_is_not(self) -> None:
        labels = [each for _ in range(300) for each in (champions(False), own(False))]
        assert self.see(300, *labels).broken == ""

    def test_without_labels_nothing_is_held_against_it(self) -> None:
        seen = self.see(200)
        assert (seen.done, seen.broken, seen.evidence["accuracy"]) == (True, "", None)

    def crossed(
        self, rng: np.random.Generator, risk: float, champion: float, n: int, share: float = 0.25
    ) -> bool:
        """Whether labels of n rows stop a version with this risk beside a champion with that one."""
        mine = rng.random(n) < share
        right = rng.random(n) >= np.where(mine, risk, champion)
        labels = [own(bool(r)) if m else champions(bool(r)) for m, r in zip(mine, right, strict=True)]
        return bool(self.see(0, *labels).broken)

    def test_one_at_the_margin_is_stopped_as_rarely_as_is_promised(self) -> None:
        n, rng = 300, np.random.default_rng(1)
        stopped = sum(self.crossed(rng, 0.23, 0.20, 1500) for _ in range(n))
        assert stopped <= binom.ppf(0.999, n, SETTINGS.alpha / WAYS)

    def test_one_that_is_ten_points_worse_is_stopped(self) -> None:
        """Four times in five by 4,000 labels of which it answered a quarter."""
        n, rng = 60, np.random.default_rng(2)
        assert sum(self.crossed(rng, 0.3, 0.2, 4000) for _ in range(n)) >= binom.ppf(0.001, n, 0.8)

    def test_one_that_is_much_worse_is_stopped_soon(self) -> None:
        """Nine times in ten by 400 labels of which it answered a quarter."""
        n, rng = 100, np.random.default_rng(3)
        assert sum(self.crossed(rng, 0.7, 0.2, 400) for _ in range(n)) >= binom.ppf(0.001, n, 0.9)


class TestGuards:
    ROWS = traffic(200, 0.0, seed=9)
    DONE = Seen(evidence={}, done=True)

    def collapsed(self, n: int = 200) -> PredictionWindow:
        return replace(samples_of(self.ROWS[:n]), labels=(NEG,) * n)

    def test_answers_of_one_class_on_the_same_inputs_break_it_at_the_end_of_a_stage(self) -> None:
        window = self.collapsed()
        assert "neg" in guarded(self.DONE, window, HALF, ALL).broken
        assert guarded(replace(self.DONE, done=False), window, HALF, ALL).broken == ""

    def test_too_few_answers_say_nothing(self) -> None:
        window = self.collapsed(40)
        assert guarded(self.DONE, window, HALF, ALL).broken == ""

    def test_answers_as_on_the_reference_pass(self) -> None:
        assert guarded(self.DONE, samples_of(self.ROWS), HALF, ALL).broken == ""

    def test_one_answer_that_is_not_finite_is_enough_at_any_time(self) -> None:
        rows = self.ROWS.copy()
        rows[3, 4] = np.nan
        seen = guarded(replace(self.DONE, done=False), samples_of(rows), HALF, ALL)
        assert "not finite" in seen.broken

    def test_a_reason_that_was_found_before_stays(self) -> None:
        assert (
            guarded(replace(self.DONE, broken="labels"), samples_of(self.ROWS), HALF, ALL).broken == "labels"
        )


judgements = st.builds(
    Judged, by_challenger=st.booleans(), right=st.booleans(), shadow_right=st.none() | st.booleans()
)


@given(st.lists(judgements, max_size=60))
def test_every_row_is_used_once(labels: list[Judged]) -> None:
    """Rows that both answered by `paired`; of the others at most one of each kind is left over."""
    alone = [each for each in labels if each.shadow_right is None]
    mine = sum(each.by_challenger for each in alone)
    assert len(list(paired(labels))) == len(labels) - len(alone)
    differences = list(matched(labels))
    assert len(differences) <= min(mine, len(alone) - mine)
    assert all(-1.0 <= each <= 1.0 for each in differences)


def test_a_row_takes_all_that_the_champion_has_by_then() -> None:
    labels = [champions(True), champions(False), own(False), own(True), champions(False), champions(True)]
    assert list(matched(labels)) == [1.0 - 0.5, 0.0 - 1.0]
    assert accuracies(labels) == {"accuracy": 0.5, "champion_accuracy": 0.5}


def test_more_labels_never_change_what_was_said() -> None:
    """A test that may be looked at at any time: what it goes by grows at its end only."""
    rng = np.random.default_rng(5)
    labels = [own(bool(a)) if b else champions(bool(a)) for a, b in rng.integers(2, size=(80, 2))]
    prefixes = [list(matched(labels[:n])) for n in range(len(labels) + 1)]
    assert all(after[: len(before)] == before for before, after in pairwise(prefixes))


@pytest.mark.parametrize(
    "check",
    [
        {"name": "gain:shops", "result": "pass", "discordance": 0.2, "n": 300},
        {"name": "gain:shops", "result": "insufficient_data", "discordance": 0.2, "n": 300},
        {"name": "gain:shops", "result": "pass", "n": 300},
        {"name": "forgetting:films", "result": "pass", "discordance": 0.2, "n": 300},
    ],
)
def test_the_gates_gain_test_explains_as_much_as_its_labels_show(check: dict[str, object]) -> None:
    passed = check["name"] == "gain:shops" and check["result"] == "pass" and "discordance" in check
    verdict = {"checks": [{"name": "integrity", "result": "pass"}, check]}
    assert explained_by_gate(verdict) == (upper_bound(60, 300, 0.975) if passed else 0.0)


@pytest.mark.parametrize("verdict", [None, {}, {"checks": []}])
def test_without_a_gate_nothing_is_explained(verdict: dict[str, object] | None) -> None:
    assert explained_by_gate(verdict) == 0.0


class TestSharesAway:
    @pytest.mark.parametrize(
        ("domains", "share", "away"),
        [
            ((0.5,), 0.5, 0.0),
            ((0.5,), 0.8, 0.3),
            ((0.2, 0.8), 0.5, 0.0),
            ((0.2, 0.8), 0.9, 0.1),
            ((0.2, 0.8), 0.0, 0.2),
        ],
    )
    def test_of_two_classes_it_is_the_distance_to_an_interval(
        self, domains: tuple[float, ...], share: float, away: float
    ) -> None:
        found = shares_away(baseline_of(*domains), np.array([1 - share, share]))
        assert found == pytest.approx(away, abs=1e-6)

    @given(arrays.arrays(np.float64, 2, elements=st.floats(0.01, 1.0)))
    def test_no_mixture_on_a_grid_is_nearer(self, counts: np.ndarray) -> None:
        shares = counts / counts.sum()
        grid = [
            np.abs(shares - (w * np.array([0.7, 0.3]) + (1 - w) * np.array([0.9, 0.1]))).sum() / 2
            for w in np.linspace(0, 1, 101)
        ]
        found = shares_away(baseline_of(0.3, 0.1), shares)
        assert found is not None
        assert found <= min(grid) + 1e-6
        assert found >= min(grid) - 0.01

    def test_a_reference_that_does_not_say_what_was_answered_says_nothing(self) -> None:
        silent = replace(
            HALF, references=replace(HALF.references, predicted={"d0": np.full(400, -1, dtype=np.int64)})
        )
        assert shares_away(silent, np.array([0.5, 0.5])) is None
