from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from trimtab.settings import GateSettings
from trimtab.stats.tango import PairedCounts, non_inferiority, power, score_z
from workers.evaluate import Scorecard, scorecard
from workers.gate import Check, Decision, Evidence, Paired, Result, Verdict, gate, lowest_loss

SETTINGS = GateSettings()


def card(right: Sequence[bool]) -> Scorecard:
    labels = np.arange(len(right)) % 2
    return scorecard(np.where(np.array(right, dtype=bool), labels, 1 - labels), labels)


def pair(n: int, lost: int, gained: int, domain: str = "movie") -> Paired:
    before = [True] * lost + [False] * gained + [True] * (n - lost - gained)
    after = [False] * lost + [True] * gained + [True] * (n - lost - gained)
    return Paired(domain=domain, against="champion 1", incumbent=card(before), candidate=card(after))


GOOD = Evidence(
    delta_norms={"layer.0": 0.1},
    parity=1e-6,
    n_parity=64,
    past=(pair(1500, 40, 40),),
    gain=pair(300, 10, 50, "tweets"),
)


def judged(settings: GateSettings = SETTINGS, **changes: Any) -> Verdict:
    return gate(replace(GOOD, **changes), settings)


def check(verdict: Verdict, name: str) -> Check:
    return next(each for each in verdict.checks if each.name == name)


def test_a_good_candidate_is_promoted_with_every_number() -> None:
    verdict = judged()
    assert verdict.decision is Decision.PROMOTE
    assert [each.name for each in verdict.checks] == [
        "integrity",
        "parity",
        "forgetting:movie",
        "gain:tweets",
    ]
    forgetting, gain = check(verdict, "forgetting:movie"), check(verdict, "gain:tweets")
    assert forgetting.value == 0.0
    assert forgetting.n == 1500
    assert forgetting.bound is not None
    assert 0.0 < forgetting.bound < forgetting.limit == 0.03
    assert forgetting.power == pytest.approx(power(1500, 80 / 1500, 0.03, 0.05))
    assert gain.value == pytest.approx(40 / 300)
    assert gain.bound is not None
    assert gain.value is not None
    assert 0.0 < gain.bound < gain.value
    assert gain.power is not None


def test_forgetting_rejects() -> None:
    verdict = judged(past=(pair(1500, 120, 40),))
    assert verdict.decision is Decision.REJECT
    assert "forgetting:movie" in verdict.reason


def test_a_point_estimate_below_the_margin_is_not_enough() -> None:
    harmless_looking = pair(1500, 90, 60)  # 2 points lost, at most 3.3
    verdict = judged(past=(harmless_looking,))
    assert verdict.decision is Decision.HOLD  # neither proven harmless nor shown to be harmful
    assert "about 1283 more labels would decide" in verdict.reason


def test_too_few_examples_to_exclude_forgetting_hold() -> None:
    verdict = judged(past=(pair(200, 8, 8),))
    assert verdict.decision is Decision.HOLD
    found = check(verdict, "forgetting:movie")
    assert found.result is Result.INSUFFICIENT
    assert found.power is not None
    assert found.power < 0.8


def test_harm_that_shows_on_few_examples_rejects_all_the_same() -> None:
    assert judged(past=(pair(200, 30, 5),)).decision is Decision.REJECT


def test_every_past_domain_must_pass() -> None:
    assert judged(past=(pair(1500, 20, 20), pair(1500, 120, 20, "news"))).decision is Decision.REJECT


def test_no_gain_rejects() -> None:
    verdict = judged(gain=pair(300, 30, 30, "tweets"))
    assert verdict.decision is Decision.REJECT
    assert check(verdict, "gain:tweets").result is Result.FAIL


def test_a_gain_on_few_labels_is_not_known() -> None:
    verdict = judged(gain=pair(60, 0, 20, "tweets"))
    assert verdict.decision is Decision.HOLD
    assert "60 labelled examples, 100 are needed" in verdict.reason


def test_a_gain_that_is_not_significant_for_lack_of_labels_holds() -> None:
    assert judged(gain=pair(120, 12, 17, "tweets")).decision is Decision.HOLD


@pytest.mark.parametrize("parity", [2e-4, float("nan"), float("inf")])
def test_a_merge_that_changes_answers_rejects(parity: float) -> None:
    verdict = judged(parity=parity)
    assert verdict.decision is Decision.REJECT
    json.dumps(verdict.as_json(), allow_nan=False)


@pytest.mark.parametrize("norm", [0.8, float("nan"), float("inf")])
def test_weights_that_run_away_reject(norm: float) -> None:
    assert judged(delta_norms={"a": 0.1, "b": norm}).decision is Decision.REJECT


def test_without_past_domains_the_gain_decides() -> None:
    assert judged(past=()).decision is Decision.PROMOTE


def test_a_gate_set_without_examples_says_so() -> None:
    assert judged(past=(pair(0, 0, 0),)).decision is Decision.HOLD


def test_mode_hold_never_promotes_but_still_rejects() -> None:
    settings = GateSettings(mode="hold")
    assert judged(settings).decision is Decision.HOLD
    assert judged(settings, past=(pair(1500, 120, 40),)).decision is Decision.REJECT


def test_mode_off_promotes_what_is_sound() -> None:
    settings = GateSettings(mode="off")
    assert judged(settings, past=(pair(1500, 120, 40),)).decision is Decision.PROMOTE
    assert judged(settings, parity=1.0).decision is Decision.REJECT


def test_a_verdict_is_plain_json() -> None:
    content = json.loads(json.dumps(judged().as_json(), allow_nan=False))
    assert content["verdict"] == "promote"
    assert content["checks"][2] == {
        "name": "forgetting:movie", "result": "pass", "value": 0.0, "limit": 0.03, "n": 1500,
        "bound": content["checks"][2]["bound"], "power": content["checks"][2]["power"],
        "detail": content["checks"][2]["detail"],
    }  # fmt: skip


def test_bad_candidates_rarely_pass() -> None:
    """At a true loss of exactly the margin at most about 5 % are promoted (100 simulated candidates)."""
    rng = np.random.default_rng(3)
    passed = 0
    for _ in range(100):
        lost, gained, _ = rng.multinomial(1500, [0.055, 0.025, 0.92])
        passed += judged(past=(pair(1500, int(lost), int(gained)),)).decision is Decision.PROMOTE
    assert passed / 100 <= 0.05 + 0.07


def test_a_large_loss_on_few_labels_waits_for_more_labels() -> None:
    few = pair(160, 6, 0)  # 3.75 points lost, between 1.6 and 7.1
    verdict = judged(past=(few,))
    assert verdict.decision is Decision.HOLD
    assert judged(past=(pair(1600, 60, 0),)).decision is Decision.REJECT


def test_a_gain_that_is_not_significant_waits_and_says_for_how_many() -> None:
    verdict = judged(gain=pair(321, 7, 13, "amazon"))
    assert verdict.decision is Decision.HOLD
    assert "more labels would decide" in verdict.reason


@given(st.integers(1, 60), st.integers(0, 60), st.integers(130, 400))
def test_the_lower_bound_of_a_loss_mirrors_the_upper_bound_of_the_gain(
    lost: int, gained: int, n: int
) -> None:
    counts = PairedCounts(n, lost, gained)
    lowest = lowest_loss(counts, 0.05)
    assert lowest <= counts.loss <= non_inferiority(counts, 0.03, 0.05).bound
    assert score_z(counts, lowest) == pytest.approx(norm.isf(0.05), abs=1e-3)
