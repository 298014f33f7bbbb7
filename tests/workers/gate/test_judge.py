from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from workers.gate import Check, Decision, Evidence, Paired, Result, Rows, Verdict, gate, lowest_loss
from workers.gate.evidence import Update
from workers.poisoning import DataReport

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
    assert check(verdict, "forgetting:movie").more_labels == 1283


def test_nobody_is_told_to_bring_more_labels_than_there_are() -> None:
    """44 of 1,500 lost is .0293: as near to the margin as can be."""
    found = check(judged(past=(pair(1500, 60, 16),)), "forgetting:movie")
    assert found.result is Result.INSUFFICIENT
    assert (found.more_labels, "do not say yet" in found.detail) == (None, True)


def test_a_gain_on_too_few_labels_says_how_many_would_decide() -> None:
    """At this estimate the next job's bound lies above 0 or does not, as it said: these labels were tested once."""
    small = pair(120, 8, 13)
    found = check(judged(gain=small), "gain:movie")
    assert found.result is Result.INSUFFICIENT
    assert found.more_labels is not None
    for factor, decided in (
        (1 + 0.6 * found.more_labels / 120, False),
        (1 + 1.6 * found.more_labels / 120, True),
    ):
        grown = pair(round(120 * factor), round(8 * factor), round(13 * factor))
        more = check(judged(gain=grown, looks=1), "gain:movie")
        assert ((more.bound or 0.0) > 0.0) is decided
    nothing = check(judged(gain=pair(GateSettings().min_n - 7, 0, 5)), "gain:movie")
    assert nothing.more_labels == 7
    assert check(judged(gain=pair(120, 8, 8)), "gain:movie").more_labels is None


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
        "detail": content["checks"][2]["detail"], "against": "champion 1",
        "before": pytest.approx(1460 / 1500), "after": pytest.approx(1460 / 1500), "discordance": None,
        "more_labels": None, "looks": None, "level": None,
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


def rows(n: int, lost: int, gained: int) -> Rows:
    """Gate examples whose probabilities say no more than right or wrong."""
    truth = np.arange(n) % 2
    before, after = np.ones(n, dtype=bool), np.ones(n, dtype=bool)
    after[:lost] = False
    before[lost : lost + gained] = False

    def answers(right: Any) -> Any:
        return np.log(np.where(np.arange(2) == np.where(right, truth, 1 - truth)[:, None], 0.9, 0.1))

    return Rows(truth=truth, incumbent=answers(before), candidate=answers(after))


SOUND = DataReport(n=200, n_labels=2, clients={"a": 200}, contradictions={"a": 50})
LIKE_OTHERS = Update(norm=1.0, cosine=0.0, accepted_norms=(1.0,) * 5, accepted_cosines=(0.0,) * 5)
WHOLE: Mapping[str, Any] = {
    "rows": rows(1000, 20, 60), "data": SOUND, "update": LIKE_OTHERS, "uses": {"movie": 3}
}  # fmt: skip


def test_with_all_that_can_be_looked_at_a_good_candidate_is_promoted() -> None:
    verdict = judged(**WHOLE)
    assert verdict.decision is Decision.PROMOTE
    assert [each.name for each in verdict.checks][4:] == [
        "calibration", "likelihood", "flips", "slices", "data:labels", "data:clients", "data:duplicates",
        "update", "use:movie",
    ]  # fmt: skip
    json.dumps(verdict.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "decision", "named"),
    [
        ({"problems": ("rank 80 is above 64",)}, Decision.REJECT, "rank 80"),
        ({"rows": rows(1000, 90, 200)}, Decision.REJECT, "flips"),
        (
            {"data": replace(SOUND, clients={"a": 100, "b": 100}, contradictions={"a": 50, "b": 20})},
            Decision.HOLD,
            "data:labels",
        ),
        (
            {"data": replace(SOUND, clients={"a": 100, "b": 100}, contradictions={"a": 95, "b": 20})},
            Decision.REJECT,
            "data:labels",
        ),
        ({"data": replace(SOUND, duplicates=100)}, Decision.HOLD, "data:duplicates"),
        ({"update": replace(LIKE_OTHERS, norm=9.0)}, Decision.REJECT, "update"),
        ({"uses": {"movie": 20}}, Decision.HOLD, "use:movie"),
    ],
)
def test_one_thing_wrong_is_enough(change: dict[str, Any], decision: Decision, named: str) -> None:
    verdict = judged(**{**WHOLE, **change})
    assert verdict.decision is decision
    assert named in verdict.reason


def test_too_few_rows_for_a_guard_hold_nothing_up() -> None:
    verdict = judged(rows=rows(60, 1, 3))
    assert check(verdict, "calibration").result is Result.INSUFFICIENT
    assert verdict.decision is Decision.PROMOTE


def test_mode_off_does_not_heed_the_guards_but_the_files() -> None:
    settings = GateSettings(mode="off")
    assert judged(settings, rows=rows(1000, 90, 0)).decision is Decision.PROMOTE
    assert judged(settings, problems=("made on another base",)).decision is Decision.REJECT


def weighted(n: int, lost: int, gained: int, heavy: float) -> Paired:
    """The examples that changed weigh `heavy`, the others 1."""
    found = pair(n, lost, gained)
    return replace(found, weights=np.where(np.arange(n) < lost + gained, heavy, 1.0))


def test_equal_weights_change_nothing() -> None:
    plain, even = judged(past=(pair(1500, 40, 30),)), judged(past=(weighted(1500, 40, 30, 1.0),))
    one, two = (check(each, "forgetting:movie") for each in (plain, even))
    assert (one.result, one.n, one.power) == (two.result, two.n, two.power)
    assert one.value == pytest.approx(two.value)
    assert one.bound == pytest.approx(two.bound)
    assert "worth 1500 examples" in two.detail


def test_losses_in_a_class_that_is_rare_today_weigh_little() -> None:
    assert judged(past=(weighted(1500, 75, 0, 1.0),)).decision is Decision.REJECT
    assert judged(past=(weighted(1500, 75, 0, 0.1),)).decision is Decision.PROMOTE


def test_losses_in_a_class_that_is_common_today_weigh_much() -> None:
    assert judged(past=(weighted(1500, 20, 0, 1.0),)).decision is Decision.PROMOTE
    assert judged(past=(weighted(1500, 20, 0, 5.0),)).decision is not Decision.PROMOTE


FLIPPED = DataReport(n=200, n_labels=2, clients={"a": 100, "b": 100}, contradictions={"a": 95})


def test_flipped_labels_reject_only_what_learnt_from_them() -> None:
    """Else the version may serve, its reason says why the labels are not kept."""
    assert judged(data=FLIPPED).decision is Decision.REJECT
    verdict = judged(data=FLIPPED, learns=False)
    assert verdict.decision is Decision.PROMOTE
    assert [each.name for each in verdict.unfit] == ["data:labels"]
    assert verdict.reason.startswith(
        "every check passed; labels of the training part are not kept: data:labels"
    )


def test_labels_that_are_fit_need_no_word() -> None:
    fit = replace(FLIPPED, contradictions={})
    verdict = judged(data=fit, learns=False)
    assert (verdict.decision, verdict.reason, verdict.unfit) == (Decision.PROMOTE, "every check passed", ())


def test_what_is_wrong_with_labels_that_were_not_learnt_from_is_no_other_reason() -> None:
    """A candidate that is refused for something else is refused for that."""
    verdict = judged(data=FLIPPED, learns=False, past=(pair(1500, 120, 40),))
    assert verdict.decision is Decision.REJECT
    assert "data:" not in verdict.reason
