"""Who meets the gate: the rule on made-up scorecards, and a contest of real remedies on a tiny base."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.toy_texts import LABELS, toy_rows
from tests.fixtures.workshops import MODEL, toy_shop
from trimtab.adapter import WEIGHTS
from trimtab.base import load_base
from trimtab.bundle import Remedy
from trimtab.settings import GateSettings
from workers.contest import (
    REMEDIES,
    Propose,
    Scored,
    behind_of,
    choose,
    compare,
    decide,
    importance,
    paired,
    propose,
    weighted_loss,
)
from workers.evaluate import Scorecard, scorecard
from workers.fit import ReplaySet, TrainingSet
from workers.plan import Plan, Rival
from workers.remedies.head import propose_head
from workers.remedies.variants import with_remedy
from workers.task import Declined, Proposal, Task
from workers.workshop import load_version

N = 300
GAIN = 0.01


def card(n_right: int, n: int = N, shift: int = 0) -> Scorecard:
    """n answers, n_right of them right, beginning at text number `shift`."""
    right = np.zeros(n, dtype=np.int64)
    right[np.arange(shift, shift + n_right) % n] = 1
    return scorecard(right, np.ones(n, dtype=np.int64))


def rival(name: str, cost: int, n_right: int, loss: float = 0.0, *, forgets: bool = False) -> Scored:
    return Scored(name, cost, "because", card(n_right), {}, {"old": loss}, ("old",) if forgets else ())


def chosen(scored: Sequence[Scored], champion: int = 140, default: str = "lora") -> str | None:
    found = decide(scored, card(champion), default, GAIN).chosen
    return None if found is None else found.name


def test_the_best_is_chosen_when_the_cheaper_are_clearly_behind() -> None:
    # 20 of 300 differ: standard error sqrt(.067 * .933 / 299) = .014, the difference is .067.
    assert chosen([rival("head", 4, 160), rival("lora", 5, 180)]) == "lora"


def test_the_cheapest_within_one_standard_error_is_chosen() -> None:
    # 1 of 300 differs: .003 behind, standard error .003.
    found = decide([rival("head", 4, 179), rival("lora", 5, 180)], card(140), "lora", GAIN)
    assert found.chosen is not None
    assert found.chosen.name == "head"
    assert found.best is not None
    assert found.best.name == "lora"
    assert "within one standard error" in found.reason
    assert "of lora" in found.reason


def test_the_error_is_that_of_the_paired_difference() -> None:
    one, other = card(150), card(150, shift=40)
    difference = one.right.astype(float) - other.right
    behind, error = paired(one.right, other.right)
    assert behind == pytest.approx(difference.mean())
    assert error == pytest.approx(difference.std(ddof=1) / np.sqrt(N))
    assert paired(one.right, one.right) == (0.0, 0.0)


def keeps(name: str, cost: int, n_right: int, n_past: int) -> Scored:
    return Scored(name, cost, "because", card(n_right), {"old": card(n_past).right.astype(float)})


def test_what_a_cheap_rival_forgets_counts_against_it() -> None:
    """One answer behind on the new domain is within the error; fourteen on the past one are not."""
    cheap, dear = keeps("head", 4, 179, 160), keeps("lora", 5, 180, 174)
    assert chosen([cheap, replace(dear, past={"old": cheap.past["old"]})]) == "head"
    assert chosen([cheap, dear]) == "lora"


def test_the_error_of_a_mean_over_domains() -> None:
    one, other = keeps("head", 4, 170, 150), keeps("lora", 5, 180, 190)
    behind, error = behind_of(other, one)
    assert behind == pytest.approx((10 / N + 40 / N) / 2)
    assert error == pytest.approx(np.sqrt((10 / N * (1 - 10 / N) + 40 / N * (1 - 40 / N)) / (N - 1)) / 2)


def test_who_gains_nothing_is_not_chosen_however_cheap() -> None:
    """A remedy that changes no answer is never far behind on few labels."""
    small = [Scored("temperature", 1, "", card(28, 40)), Scored("lora", 5, "", card(29, 40))]
    assert paired(small[1].score.right, small[0].score.right) == (
        pytest.approx(1 / 40),
        pytest.approx(1 / 40),
    )
    found = decide(small, card(28, 40), "lora", GAIN)
    assert found.chosen is small[1]


def test_where_nobody_gains_the_gate_is_left_to_say_so() -> None:
    found = decide([rival("head", 4, 140), rival("lora", 5, 141)], card(150), "lora", GAIN)
    assert found.chosen is not None
    assert "no rival gains enough" in found.reason


def test_who_forgets_is_not_chosen() -> None:
    assert chosen([rival("head", 4, 150), rival("lora", 5, 190, 0.06, forgets=True)]) == "head"


def test_where_all_forget_the_least_forgetful_meets_the_gate() -> None:
    lost = [rival("head", 4, 150, 0.05, forgets=True), rival("lora", 5, 190, 0.08, forgets=True)]
    found = decide(lost, card(140), "lora", GAIN)
    assert found.chosen is lost[0]
    assert "it loses 0.050 elsewhere" in found.reason


def test_too_few_labels_take_the_default() -> None:
    few = [Scored("head", 4, "", card(10, 12)), Scored("lora@0.6", 5, "", card(2, 12))]
    found = decide(few, card(5, 12), "lora", GAIN)
    assert found.chosen is few[1]
    assert found.best is None
    assert "12 selection labels compare nothing" in found.reason


def ranked(n_head: int, n_student: int, n: int, *, shift: int = 0) -> str:
    """Who is chosen by so many right answers of n, where the student is the plan's default and the champion has 5."""
    head = Scored("head", 4, "", card(n_head, n))
    student = Scored("self_training@0.8", 6, "", card(n_student, n, shift=shift))
    found = decide([head, student], card(5, n), "self_training", GAIN)
    assert found.chosen is not None
    return found.chosen.name


def test_few_labels_do_not_rank_what_is_near() -> None:
    """One of 20 is one standard error: with few labels that is the plan's default, with many the cheapest."""
    assert ranked(18, 18, 20) == ranked(18, 17, 20) == ranked(17, 18, 20) == "self_training@0.8"
    assert ranked(18, 15, 20) == "self_training@0.8"  # 3 of 20: .15, with a standard error of .08
    assert ranked(18, 14, 20) == "head"  # 4 of 20: .20, with .092
    assert ranked(5, 4, 20) == "self_training@0.8"  # who gains is no longer asked either
    assert ranked(249, 250, 250) == ranked(250, 250, 250) == "head"
    assert ranked(249, 249, 249) == "self_training@0.8"


def test_a_version_that_was_accepted_before_comes_before_what_is_new() -> None:
    """Where few labels do not rank, it has passed its gate already; but not where it is clearly worse."""
    known, lora = Scored("known:3", 3, "", card(99, 120)), Scored("lora", 5, "", card(100, 120))
    assert decide([known, lora], card(80, 120), "lora", GAIN).chosen is known
    lost = replace(known, score=card(80, 120))
    assert decide([lost, lora], card(80, 120), "lora", GAIN).chosen is lora


def test_few_labels_show_what_is_far_worse() -> None:
    """8 of 20 behind: .4, with a standard error of sqrt(.4 * .6 / 19) = .11."""
    assert ranked(18, 10, 20) == "head"
    found = decide(
        [Scored("head", 4, "", card(15, 20)), Scored("lora", 5, "", card(16, 20))],
        card(5, 20),
        "head",
        GAIN,
    )
    assert "the plan's default within two standard errors" in found.reason
    assert found.best is not None
    assert found.best.name == "lora"


def test_without_the_default_the_cheapest_is_taken() -> None:
    few = [Scored("head", 4, "", card(0, 0)), Scored("prior", 0, "", card(0, 0))]
    assert decide(few, card(0, 0), "lora", GAIN).chosen is few[1]


def test_nobody_is_chosen_from_nobody() -> None:
    assert chosen([]) is None


rivals = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, N), st.integers(0, N), st.booleans()), min_size=1, max_size=6
)


@given(rivals, st.integers(0, N))
def test_the_chosen_is_never_beaten_by_one_as_cheap(
    drawn: list[tuple[int, int, int, bool]], champion: int
) -> None:
    scored = [
        Scored(f"r{i}", cost, "", card(n_right, shift=shift), {}, {"old": 0.1 * forgets}, ("old",) * forgets)
        for i, (cost, n_right, shift, forgets) in enumerate(drawn)
    ]
    found = decide(scored, card(champion), "lora", GAIN)
    assert found.chosen is not None
    assert found.best is not None
    assert found.chosen.cost <= found.best.cost
    behind, error = behind_of(found.best, found.chosen)
    assert behind <= error + 1e-12
    harmless = [each for each in scored if not each.forgets]
    assert not (harmless and found.chosen.forgets)
    same = [each for each in harmless if each.cost == found.chosen.cost and found.chosen in harmless]
    if found.chosen.score.accuracy - card(champion).accuracy >= GAIN:
        assert all(each.score.accuracy <= found.chosen.score.accuracy for each in same)


def test_a_loss_of_one_text_is_no_forgetting() -> None:
    ones = np.ones(12)
    assert weighted_loss(card(10, 12), card(9, 12), ones) == (pytest.approx(1 / 12), pytest.approx(0.0))
    assert weighted_loss(card(10, 12), card(8, 12), ones) == (pytest.approx(2 / 12), pytest.approx(1 / 12))


def test_a_loss_is_weighted_by_what_the_classes_are_worth_today() -> None:
    before, after = card(3, 4), card(2, 4)  # the third text is lost
    for weight, loss in ((0.0, 0.0), (1.0, 1 / 4), (3.0, 3 / 6)):
        found = weighted_loss(before, after, np.array([1.0, 1.0, weight, 1.0]))
        assert found is not None
        assert found[0] == pytest.approx(loss)
    assert weighted_loss(before, after, np.zeros(4)) is None


def rows_of(domain: str, n: int, seed: int) -> TrainingSet:
    rows = toy_rows(domain, n, seed=seed)
    return TrainingSet(tuple(row.text for row in rows), np.array([LABELS.index(row.label) for row in rows]))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path) -> Iterator[Task]:
    """A champion of films, and labels of shops: no ledger is needed."""
    with toy_shop(tmp_path_factory.mktemp("contest"), tiny_base_dir) as toy:
        toy.create_first(toy_rows("film", 500))
        base = load_base(str(tiny_base_dir), "cpu")
        champion = load_version(toy.shop, base, MODEL, 1)
        old = rows_of("film", 150, seed=21)
        yield Task(
            base=base,
            champion=champion,
            labels=LABELS,
            domain="shop",
            train=rows_of("shop", 150, seed=1),
            selection=rows_of("shop", 80, seed=2),
            replay=ReplaySet(old.texts, old.labels, champion.answers.outputs(old.texts).logits),
            past={"film": rows_of("film", 80, seed=22)},
            version=2,
            epochs=6,
        )


def test_fits_share_the_time(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three fits of self-training and one of LoRA: a quarter each; LoRA alone has all of it."""
    given: dict[str, float | None] = {}

    def look(task: Task, name: str) -> Declined:
        given[name] = task.max_seconds
        return Declined(name, "only looks")

    for name in ("head", "lora", "self_training"):
        monkeypatch.setitem(cast("dict[str, Propose]", REMEDIES), name, partial(look, name=name))
    for names, share in (
        (("head", "lora", "self_training"), 25.0),
        (("head", "lora"), 100.0),
        (("head",), 100.0),
    ):
        plan = Plan(situation="S5", reasons=(), rivals=tuple(Rival(name, "") for name in names))
        choose(replace(task, max_seconds=100.0), plan, GateSettings())
        assert given == dict.fromkeys(names, share)
        given.clear()


PLAN = Plan(situation="S6", reasons=(), rivals=(Rival("head", ""), Rival("lora", "")), default="lora")


def test_real_rivals_are_compared_and_one_is_chosen(task: Task) -> None:
    found = choose(task, PLAN, GateSettings(max_forgetting=0.1))
    assert found.chosen is not None
    by_name = {entry.name.partition("@")[0]: entry for entry in found.entries}
    assert set(by_name) == {"champion", "head", "lora"}
    assert [entry.state for entry in found.entries].count("chosen") == 1
    for entry in found.entries:
        assert entry.n == 80
    mine = next(entry for entry in found.entries if entry.state == "chosen")
    expected = found.chosen.answers.scorecard(task.selection.texts, task.selection.labels)
    assert mine.accuracy == expected.accuracy
    assert mine.gain == pytest.approx(expected.accuracy - (by_name["champion"].accuracy or 0.0))
    assert mine.gain is not None
    assert mine.gain > 0.1
    assert set(mine.losses) == {"film"}


def test_the_table_is_plain_json(task: Task) -> None:
    entrants = [propose_head(task), Declined("prior", "nothing moved")]
    found = json.loads(json.dumps(compare(task, entrants, "head", GateSettings()).as_json(), allow_nan=False))
    assert found["chosen"] == "head"
    assert [entry["state"] for entry in found["rivals"]] == ["champion", "chosen", "declined"]
    assert found["rivals"][2]["reason"] == "nothing moved"


def test_when_all_decline_nobody_is_chosen(task: Task) -> None:
    found = compare(task, [Declined("head", "no labels")], "head", GateSettings())
    assert found.chosen is None
    assert [entry.state for entry in found.entries] == ["champion", "declined"]


def test_a_candidate_that_cannot_be_served_counts_as_declined(task: Task) -> None:
    broken = replace(task.champion, files={**task.champion.files, WEIGHTS: b"torn"})
    found = propose(replace(task, champion=broken), "lora")
    assert isinstance(found, Declined)
    assert "cannot be served" in found.reason


def test_a_remedy_that_does_not_exist_counts_as_declined(task: Task) -> None:
    assert propose(task, "prayer") == Declined("prayer", "there is no such remedy")


def test_a_prior_correction_is_not_said_to_forget_what_is_rare_today(task: Task) -> None:
    """It answers the frequent class more often: wrong on the old shares, right on those of today."""
    candidate = with_remedy(task, Remedy(log_prior=(-3.0, 3.0)))
    proposal = Proposal(name="prior", candidate=candidate, cost=0, reason="")
    shares = {"prior_after": [0.02, 0.98]}
    plain, weighted = (
        compare(task, [each], "prior", GateSettings()).entries[1].losses["film"]
        for each in (proposal, replace(proposal, details=shares))
    )
    assert plain > 0.05
    assert weighted < 0.05


@pytest.mark.parametrize("truth", [[0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 1, 1]])
def test_weighted_to_today_every_set_has_the_shares_of_today(task: Task, truth: list[int]) -> None:
    proposal = Proposal(
        name="prior",
        candidate=with_remedy(task, Remedy()),
        cost=0,
        reason="",
        details={"prior_after": [0.2, 0.8]},
    )
    labels = np.array(truth)
    weights = importance(proposal.shares, labels)
    assert weights is not None
    assert weights[labels == 1].sum() / weights.sum() == pytest.approx(0.8)
    assert importance(None, labels) is None
