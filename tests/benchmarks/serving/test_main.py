"""The command lines: defaults of the full run, choices, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.serving.__main__ import parse
from benchmarks.serving.dialects import DIALECTS
from benchmarks.serving.environments import REQUIREMENTS
from benchmarks.serving.purity import parse as parse_purity
from benchmarks.serving.purity import plan_of
from benchmarks.serving.soak import Plan


def test_by_default_everything_is_measured_nine_times() -> None:
    options = parse(["--out", "x"])
    assert options.peers.split(",") == list(REQUIREMENTS)
    assert (options.concurrency, options.rounds, options.scale) == ("1,8,32,64", 9, 1.0)
    assert options.int8
    assert {"trimtab", "trimtab-int8", *REQUIREMENTS} == DIALECTS.keys()


def test_no_peers_is_a_choice_and_an_unknown_one_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--out", "x", "--peers", ""]).peers == ""
    with pytest.raises(SystemExit) as ended:
        parse(["--out", "x", "--peers", "plain,tritton"])
    assert ended.value.code == 2
    assert "tritton unknown" in capsys.readouterr().err


def test_the_soak_is_long_enough_by_default() -> None:
    plan = plan_of(parse_purity(["--out", "x"]))
    assert plan == Plan()
    assert plan.pairs >= 20
    assert plan.pairs * plan.swaps >= 200
    # Fewer than ten requests a second a task, by the pause alone: tens of thousands in all need this much.
    assert 2 * plan.pairs * plan.window_s * plan.processes * plan.tasks / (plan.pause_s + 0.05) > 20_000


def test_the_soak_can_be_shortened() -> None:
    options = parse_purity(["--out", "y", "--pairs", "4", "--window", "3", "--pause-ms", "50", "--seed", "9"])
    assert options.out == Path("y")
    assert plan_of(options) == Plan(pairs=4, window_s=3.0, pause_s=0.05, seed=9)
