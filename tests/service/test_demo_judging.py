"""The demo judges fairly: each promise holds on a good run and breaks when its measurement is bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from service.client import Answer
from service.demo import show
from service.demo.measured import Accuracy, Measured, Rollback
from service.demo.plots import draw_plots, rolling
from service.demo.probe import ProbeAnswer, Purity, difference, purity
from service.demo.promises import judge
from service.demo.shortened import changes_of, demo_settings
from service.demo.watch import View, differences
from service.replay import Sent
from trimtab.datafiles import Row
from trimtab.settings import GateSettings, Settings

TEST = {"value": 0.1, "bound": 0.05, "limit": 0.01, "n": 200, "power": 0.9, "result": "pass"}
CHECKS = [
    {"name": "parity", "value": 0.0, "bound": None, "limit": 1e-4, "n": 64, "power": None, "result": "pass"},
    TEST | {"name": "forgetting:movie"},
    TEST | {"name": "gain:tweets"},
]
JOB = {
    "id": "j", "window_from_seq": 402, "status": "promoted", "version": 2, "attempts": 1,
    "reason": "every check passed", "missing": None,
    "verdict": {"verdict": "promote", "checks": CHECKS},
}  # fmt: skip
AMAZON = JOB | {
    "window_from_seq": 1_002, "verdict": {"verdict": "promote", "checks": [*CHECKS[:2], TEST | {"name": "gain:amazon"}]}
}  # fmt: skip
HELD = (
    JOB
    | {"window_from_seq": 2_002}
    | {"status": "held", "reason": "gain:nyt: 40 labelled examples, 100 are needed", "verdict": None}
)
GOOD_PURITY = Purity(
    answers=500, told_apart=400, largest_difference=3e-7, impure=0, unknown=0, by_version={1: 300, 2: 200}
)


def answered(label: str, version: int) -> Sent:
    answer = Answer(
        prediction_id="p", label=label, score=0.9, scores={}, version=version, generation=1, seconds=0.01
    )
    return Sent(Row(text="t", label="positive"), answer)


def accuracy(version: int, domain: str, balanced: float) -> Accuracy:
    return Accuracy(version=version, domain=domain, n=600, balanced=balanced, plain=balanced)


def good_run() -> Measured:
    """A run that keeps every promise."""
    return Measured(
        seed=1, full=True, further=("amazon", "nyt"),
        sent=[answered("positive", 1 + (i > 600)) for i in range(1_000)],
        segments={"movie": 0, "tweets": 400, "movie again": 800, "amazon": 1_000, "nyt": 2_000},
        in_domain_events=2_000, detected_after={"tweets": 170}, jobs={"tweets": JOB, "amazon": AMAZON, "nyt": HELD},
        return_events=1_000, n_answers=5_000, purity=GOOD_PURITY,
        accuracies=[
            accuracy(1, "movie", 0.83), accuracy(2, "movie", 0.82),
            accuracy(1, "tweets", 0.74), accuracy(2, "tweets", 0.89),
        ],
        rollback=Rollback(version=1, n=5, equal=5, seconds=0.1), exit_code=0,
        reports=[
            {"id": "r", "events_seen": n, "features": [1], "arms": [{"statistic": n / 1e4, "threshold": 0.05}]}
            for n in range(100, 1_000, 100)
        ],
    )  # fmt: skip


def broken(measured: Measured) -> list[str]:
    return [promise.name for promise in judge(measured) if not promise.held]


def test_a_good_run_keeps_every_promise() -> None:
    assert broken(good_run()) == []
    assert len(judge(good_run())) == 13


def test_an_empty_run_keeps_none() -> None:
    empty = judge(Measured(seed=1, full=True, further=("amazon",)))
    assert [promise.name for promise in empty if promise.held] == []


def without(check: str) -> dict[str, Any]:
    checks = [each | {"bound": None} if each["name"] == check else each for each in CHECKS]
    return JOB | {"verdict": {"verdict": "promote", "checks": checks}}


BREAKS: dict[str, list[Callable[[Measured], object]]] = {
    "no alarm at home": [
        lambda m: setattr(m, "in_domain_alarms", 1),
        lambda m: setattr(m, "in_domain_events", 1_999),
    ],
    "tweets noticed": [
        lambda m: m.detected_after.clear(),
        lambda m: m.detected_after.update(tweets=1_001),
    ],
    "the gate let it pass": [lambda m: m.jobs.update(tweets=without("gain:tweets"))],
    "every request answered": [lambda m: m.failures.append("500")],
    "every answer of one version": [
        lambda m: setattr(m, "purity", replace(GOOD_PURITY, impure=1)),
        lambda m: setattr(m, "purity", replace(GOOD_PURITY, unknown=1)),
        lambda m: setattr(m, "purity", replace(GOOD_PURITY, told_apart=10)),
        lambda m: setattr(m, "purity", replace(GOOD_PURITY, by_version={1: 500})),
    ],
    "better on tweets": [lambda m: m.accuracies.__setitem__(3, accuracy(2, "tweets", 0.81))],
    "nothing forgotten on movie": [lambda m: m.accuracies.__setitem__(1, accuracy(2, "movie", 0.79))],
    "back on movie, no new job": [lambda m: setattr(m, "jobs_on_return", 1)],
    "rollback restores every bit": [lambda m: setattr(m, "rollback", Rollback(version=1, n=5, equal=4, seconds=0.1))],
    "stopped in order": [
        lambda m: setattr(m, "exit_code", 1),
        lambda m: m.left_over.append("worker"),
    ],
    "amazon: decided": [
        lambda m: m.jobs.pop("amazon"),
        lambda m: m.jobs.update(amazon=JOB | {"status": "failed", "reason": "no disk"}),
        lambda m: m.jobs.update(amazon=HELD | {"status": "waiting_for_labels"}),
        lambda m: m.jobs.update(amazon=AMAZON | {"status": "rejected"}),
        lambda m: m.jobs.update(amazon=AMAZON | {"window_from_seq": 900}),
        lambda m: m.jobs.update(amazon=AMAZON | {"verdict": {"verdict": "promote", "checks": CHECKS}}),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "spoil"), [(name, spoil) for name, each in BREAKS.items() for spoil in each]
)
def test_a_bad_measurement_breaks_its_promise_alone(name: str, spoil: Callable[[Measured], object]) -> None:
    run = good_run()
    spoil(run)
    assert broken(run) == [name]


def test_a_job_that_was_rejected_breaks_training_and_gate() -> None:
    run = good_run()
    run.jobs["tweets"] = JOB | {"status": "rejected", "verdict": {"verdict": "reject", "checks": CHECKS}}
    assert broken(run) == ["a worker trained version 2", "the gate let it pass"]


def test_a_deadline_that_passed_says_what_was_missing() -> None:
    run = good_run()
    run.jobs["nyt"] = HELD | {"status": "timed_out", "reason": "", "missing": {"gate": 12, "train": 0}}
    (promise,) = [each for each in judge(run) if each.name == "nyt: decided"]
    assert (promise.held, promise.measured) == (True, "timed_out: gate: 12 missing")


# Probes

ONE, TWO = {"a": 0.9, "b": 0.1}, {"a": 0.2, "b": 0.8}
ALIKE = {"a": 0.5, "b": 0.5}
EXPECTED = {1: (ONE, ALIKE), 2: (TWO, ALIKE)}


def probe(index: int, version: int, scores: dict[str, float]) -> ProbeAnswer:
    return ProbeAnswer(index, version, scores, at=0.0)


def test_answers_of_the_named_version_are_pure() -> None:
    close = {"a": 0.9 + 5e-6, "b": 0.1 - 5e-6}
    found = purity([probe(0, 1, ONE), probe(0, 1, close), probe(0, 2, TWO), probe(1, 2, ALIKE)], EXPECTED)
    assert (found.answers, found.told_apart, found.impure, found.unknown) == (4, 3, 0, 0)
    assert found.largest_difference == pytest.approx(5e-6)
    assert found.by_version == {1: 2, 2: 2}


def test_a_mixture_and_a_false_name_are_impure() -> None:
    mixture = {"a": 0.55, "b": 0.45}
    found = purity([probe(0, 1, mixture), probe(0, 1, TWO), probe(0, 2, TWO)], EXPECTED)
    assert found.impure == 2
    assert found.largest_difference == pytest.approx(0.7)


def test_a_version_that_nobody_asked_is_unknown() -> None:
    found = purity([probe(0, 3, ONE)], EXPECTED)
    assert (found.unknown, found.told_apart) == (1, 0)
    assert purity([], {}).answers == 0


def test_other_labels_are_infinitely_different() -> None:
    assert difference({"a": 1.0}, {"b": 1.0}) == float("inf")


# What is shown


def test_changes_between_two_views_are_said_once() -> None:
    before = View(champion=1, state="ok", jobs=({"id": "12345678abc", "status": "queued", "reason": ""},))
    promoted = {"id": "12345678abc", "status": "promoted", "reason": "every check passed"}
    after = View(champion=2, state="collecting", ratio=0.5, jobs=(promoted,))
    assert differences(before, after) == [
        "version 2 serves (before: 1)",
        "drift: collecting (statistic over threshold 0.50)",
        "job 12345678: promoted: every check passed",
    ]
    assert not differences(after, after)


def test_the_document_is_json_and_complete() -> None:
    run = good_run()
    document = json.loads(json.dumps(show.as_document(run, judge(run)), allow_nan=False))
    assert document["held"]
    assert document["swap"]["told_apart"] == 400
    assert document["jobs"]["tweets"]["verdict"]["checks"][2]["power"] == 0.9
    assert [change["setting"] for change in document["shortened"]] == [
        change.key for change in changes_of(full=True)
    ]
    assert "features" not in document["reports"][0]


def test_the_scorecard_names_every_promise(capsys: pytest.CaptureFixture[str]) -> None:
    run = good_run()
    show.scorecard(run, judge(run))
    shown = capsys.readouterr().out
    for promise in judge(run):
        assert promise.name in shown
    assert "BROKEN" not in shown
    assert "forgetting:movie" in shown


def test_plots_have_their_titles_and_no_colours() -> None:
    accuracies, drift, versions = draw_plots(good_run(), width=80)
    assert "balanced accuracy" in accuracies
    assert "alarm above 1" in drift
    assert "version that answered" in versions
    assert "\x1b" not in accuracies + drift + versions
    assert draw_plots(Measured(seed=1, full=False), width=80)[0].endswith("nothing was measured")


def test_rolling_accuracy_covers_a_window() -> None:
    points = rolling([answered("positive", 1)] * 200 + [answered("negative", 1)] * 200)
    assert [points[0], points[-1]] == [(200, 1.0), (400, 0.0)]


def test_the_demo_changes_only_what_it_prints() -> None:
    mine = Settings(gate=GateSettings(alpha=0.01))
    changed = demo_settings(mine, home=mine.home, port=1234, seed=9, full=True)
    assert changed.gate == mine.gate
    changes = changes_of(full=True)
    printed = {(change.group, change.name) for change in changes} | {("server", "port"), ("training", "seed")}
    for group in type(mine).model_fields:
        before, after = getattr(mine, group), getattr(changed, group)
        for name in getattr(type(before), "model_fields", {}):
            if getattr(before, name) != getattr(after, name):
                assert (group, name) in printed
    assert all(change.default != change.value for change in changes)
