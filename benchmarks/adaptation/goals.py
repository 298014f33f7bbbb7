"""What was promised, held against what the cells say. A goal that was not measured is not held."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.adaptation.methods import FEW, NO_LABELS, OURS
from benchmarks.adaptation.prior import STRONG, Window, oracle_share
from benchmarks.adaptation.results import Chain, Order, Results, common
from benchmarks.adaptation.scores import Doubles, Figure, average, figure, forgetting, over_seeds, summed_gain
from benchmarks.serving.markdown import Goal

MAX_FORGETTING = 0.02
FEW_SHARE = 0.8
NO_LABELS_SHARE = 0.5
ORACLE_SHARE = 0.9
MAX_MS = 50.0
SPEED = 0.5
SAME = 0.01  # of balanced accuracy: one standard error of the difference on the speed run's 1,000 texts
NOT_RUN = "not run"
PEER = "Trainer + peft"
Record = dict[str, Any]


def goals(results: Results) -> list[Goal]:
    """All goals, in the order of the promise."""
    orders = results.study.orders
    found = [against_joint(results, order) for order in orders]
    found += [least_forgotten(results, order) for order in orders]
    found += [few_labels(results, order) for order in orders]
    return [
        *found,
        no_labels(results),
        *prior_goals(_raw(results, "prior")),
        speed_goal(_raw(results, "speed")),
    ]


def against_joint(results: Results, order: Order) -> Goal:
    """Average balanced accuracy of the plan minus that of joint training with equal compute, the same seeds."""
    ours, joint = results.chain(OURS, order), results.joint(order)
    seeds = common(ours, joint)
    what = f"average balanced accuracy, {_said(order)}: plan minus joint training"
    if not seeds or ours is None or joint is None:
        return Goal(what, "at least 0 points", NOT_RUN, held=False)
    difference = figure(_mean(ours, seeds, average) - _mean(joint, seeds, average))
    return Goal(what, "at least 0 points", f"{difference.text()}, {len(seeds)} seeds", difference.value >= 0)


def least_forgotten(results: Results, order: Order) -> Goal:
    """The largest over domains of the mean forgetting."""
    ours, what = results.chain(OURS, order), f"maximum forgetting of the plan, {_said(order)}"
    if ours is None:
        return Goal(what, "at most 2 points", NOT_RUN, held=False)
    found = most_forgotten(ours)
    told = f"{found.text()}, {len(ours.seeds)} seeds"
    return Goal(what, "at most 2 points", told, found.value <= MAX_FORGETTING)


def few_labels(results: Results, order: Order) -> Goal:
    """Summed gain after the last domain with few labels over that with many, the same seeds."""
    few, many, n = results.chain(FEW, order), results.chain(OURS, order), results.study.sizes
    seeds = common(few, many)
    what = f"summed gain of {n.few_train} labels a domain over that of {n.train}, {_said(order)}"
    if not seeds or few is None or many is None:
        return Goal(what, "at least 80 %", NOT_RUN, held=False)
    share = ratio(_mean(few, seeds, summed_gain), _mean(many, seeds, summed_gain))
    return Goal(what, "at least 80 %", f"{share.text(0)} %, {len(seeds)} seeds", share.value >= FEW_SHARE)


def no_labels(results: Results) -> Goal:
    """The first domain's gain without labels over its gain with many."""
    order = results.study.orders[0]
    none, many = results.chain(NO_LABELS, order), results.chain(OURS, order)
    seeds = common(none, many)
    what = f"gain on {order[0]} without labels over that of {results.study.sizes.train} labels"
    if not seeds or none is None or many is None:
        return Goal(what, "at least 50 %", NOT_RUN, held=False)
    share = ratio(_mean(none, seeds, first_gain), _mean(many, seeds, first_gain))
    return Goal(
        what, "at least 50 %", f"{share.text(0)} %, {len(seeds)} seeds", share.value >= NO_LABELS_SHARE
    )


def prior_goals(windows: Sequence[Record]) -> list[Goal]:
    """From prior.json of `python -m benchmarks.adaptation.prior`: its windows."""
    gain, time = "gain of the prior correction over that of the oracle's prior", "its CPU time for 1,000 rows"
    if not windows:
        return [
            Goal(gain, "at least 90 %", NOT_RUN, held=False),
            Goal(time, "below 50 ms", NOT_RUN, held=False),
        ]
    found = [Window(**each) for each in windows]
    strong = [each for each in found if each.share in STRONG]
    share, ms = oracle_share(strong), statistics.median(each.milliseconds for each in found)
    return [
        Goal(gain, "at least 90 %", f"{100 * share:.0f} %, {len(strong)} windows", share >= ORACLE_SHARE),
        Goal(time, "below 50 ms", f"{ms:.1f} ms, median", ms < MAX_MS),
    ]


def speed_goal(timings: Sequence[Record]) -> Goal:
    """From speed.json of `python -m benchmarks.adaptation.speed`: its fits, compared seed by seed."""
    what, bound = f"CPU time of a fit over that of {PEER}, same accuracy within a point", "at most 50 %"
    ours = {each["seed"]: each for each in timings if each["name"] == "ours"}
    theirs = [each for each in timings if each["name"] == PEER]
    if not theirs:
        return Goal(what, bound, NOT_RUN, held=False)
    share = statistics.median(ours[each["seed"]]["cpu_s"] / each["cpu_s"] for each in theirs)
    better = statistics.mean(ours[each["seed"]]["accuracy"] - each["accuracy"] for each in theirs)
    said = (
        f"{100 * share:.0f} %, median of {len(theirs)} seeds; accuracy {100 * better:+.1f} points, their mean"
    )
    return Goal(what, bound, said, share <= SPEED and better >= -SAME)


def most_forgotten(chain: Chain) -> Figure:
    """The largest of the domains' mean forgetting over the seeds."""
    return figure(over_seeds([forgetting(found) for found in chain.matrices]).max(axis=-1))


def first_gain(found: Doubles) -> Doubles:
    """R[1, 1] - R[0, 1]."""
    return np.asarray(found[..., 1, 1] - found[..., 0, 1])


def ratio(part: Doubles, whole: Doubles) -> Figure:
    """Draw by draw; a whole that is not positive gives no share."""
    return figure(np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 0.0))


def _mean(chain: Chain, seeds: Sequence[int], of: Any) -> Doubles:
    return over_seeds([of(found) for found in chain.of(seeds)])


def _raw(results: Results, name: str) -> list[Record]:
    path = results.cells.directory / f"{name}.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def _said(order: Order) -> str:
    return " > ".join(order)
