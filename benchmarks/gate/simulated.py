"""Made-up correctness vectors through the real gate: what it lets pass at a known truth.

A gate example is answered rightly by the champion with its stated confidence (so the champion is calibrated); the
candidate loses and gains with given probabilities, independently of each other. No model is involved: only the
statistics are under test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.settings import GateSettings
from workers.evaluate import scorecard
from workers.gate import Decision, Evidence, Paired, Result, Rows, gate
from workers.gate.evidence import Update
from workers.poisoning import DataReport

Generator = np.random.Generator
Bools = npt.NDArray[np.bool_]
CLIENTS = 6
SETTINGS = GateSettings()


@dataclass(frozen=True)
class Truth:
    """A candidate as it truly is on one gate set: n examples, the shares that it loses and gains."""

    n: int
    lost: float
    gained: float

    @classmethod
    def of(cls, n: int, discordance: float, loss: float) -> Truth:
        """By how often exactly one is right, and the loss of accuracy (negative: a gain)."""
        return cls(n, (discordance + loss) / 2, (discordance - loss) / 2)


@dataclass(frozen=True)
class Tally:
    """Of so many draws, how many were promoted, held, rejected, and which checks stood in the way."""

    draws: int
    promoted: int
    held: int
    rejected: int
    in_the_way: dict[str, int]


def promotions(past: Truth, new: Truth, draws: int, seed: int, *, whole: bool = True) -> Tally:
    """How a candidate fares over many draws of its gate sets; `whole`: with every check, else the paired tests only."""
    rng = np.random.default_rng(seed)
    decisions: list[Decision] = []
    in_the_way: dict[str, int] = {}
    for _ in range(draws):
        verdict = gate(_evidence(rng, past, new, whole=whole), SETTINGS)
        decisions.append(verdict.decision)
        for check in verdict.checks:
            if check.result is not Result.PASS:
                in_the_way[check.kind] = in_the_way.get(check.kind, 0) + 1
    count = decisions.count
    return Tally(draws, count(Decision.PROMOTE), count(Decision.HOLD), count(Decision.REJECT), in_the_way)


def _evidence(rng: Generator, past: Truth, new: Truth, *, whole: bool) -> Evidence:
    old, fresh = _draw(rng, past), _draw(rng, new)
    evidence = Evidence(
        delta_norms={"layer": 0.1},
        parity=1e-6,
        n_parity=64,
        past=(_paired("past", old),),
        gain=_paired("new", fresh),
    )
    return replace(evidence, **_besides(rng, old, fresh)) if whole else evidence


@dataclass(frozen=True)
class _Answers:
    """(n,) what both versions answer to examples of class 0 or 1, and how sure they are."""

    truth: npt.NDArray[np.int64]
    before: Bools
    after: Bools
    sure_before: npt.NDArray[np.float64]
    sure_after: npt.NDArray[np.float64]


def _draw(rng: Generator, truth: Truth) -> _Answers:
    """The champion is right with its confidence (mean 0.8); losses fall on what it has right, gains on the rest."""
    sure = 0.5 + 0.5 * rng.beta(2.0, 1.333, truth.n)
    before = rng.random(truth.n) < sure
    unit = rng.random(truth.n)
    lost = before & (unit < truth.lost / sure.mean())
    gained = ~before & (unit < truth.gained / (1.0 - sure.mean()))
    after = (before & ~lost) | gained
    other = lost | gained
    moved = np.where(
        other, 0.5 + 0.25 * rng.random(truth.n), np.clip(sure + rng.normal(0, 0.03, truth.n), 0.5, 0.999)
    )
    return _Answers(rng.integers(0, 2, truth.n), before, after, np.clip(sure, 0.5, 0.999), moved)


def _paired(domain: str, found: _Answers) -> Paired:
    before, after = (
        scorecard(np.where(right, found.truth, 1 - found.truth), found.truth)
        for right in (found.before, found.after)
    )
    return Paired(domain=domain, against="champion 1", incumbent=before, candidate=after)


def _besides(rng: Generator, old: _Answers, new: _Answers) -> dict[str, Any]:
    """Rows with classes, lengths and clients, sound training rows, a usual change of the weights, a set used before."""
    truth = np.concatenate([old.truth, new.truth])
    n = len(truth)
    before = np.concatenate(
        [_log(old.truth, old.before, old.sure_before), _log(new.truth, new.before, new.sure_before)]
    )
    after = np.concatenate(
        [_log(old.truth, old.after, old.sure_after), _log(new.truth, new.after, new.sure_after)]
    )
    groups = {
        "class": truth.astype(str),
        "length": rng.integers(0, 3, n).astype(str),
        "client": rng.integers(0, CLIENTS, n).astype(str),
    }
    rows = {str(client): 100 for client in range(CLIENTS)}
    wrong = {client: int(rng.binomial(50, 0.2)) for client in rows}
    data = DataReport(
        n=600,
        n_labels=2,
        clients=rows,
        judged=dict.fromkeys(rows, 50),
        contradictions=wrong,
        class_distance=0.05,
    )
    norms = np.exp(rng.normal(0.0, 0.2, 11))
    update = Update(
        norm=float(norms[0]), cosine=0.0, accepted_norms=tuple(norms[1:]), accepted_cosines=(0.0,) * 10
    )
    return {
        "rows": Rows(truth=truth, incumbent=before, candidate=after, groups=groups),
        "data": data,
        "update": update,
        "uses": {"past": 3},
    }


def _log(
    truth: npt.NDArray[np.int64], right: Bools, sure: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    answer = np.where(right, truth, 1 - truth)
    chosen = np.arange(2) == answer[:, None]
    return np.asarray(np.log(np.where(chosen, sure[:, None], 1.0 - sure[:, None])))
