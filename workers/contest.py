"""Who meets the gate: every rival makes its candidate, all are compared on the selection labels, one is chosen.

The cheapest within one standard error of the best (Breiman et al., Classification and Regression Trees, 1984, section
3.4.3); with fewer selection labels than 250 a version that was accepted before or the plan's default, unless the best
is more than two standard errors ahead of it. Compared is the mean of the accuracies on the new domain and on each
past one, for a cheap remedy may gain as much and forget more; the standard error is that of the paired difference on
the same texts. A rival that loses more than the gate's margin on a past domain's selection set would only be refused
there: it is not chosen. The gate set is not touched, so that the one test that follows is as strict as it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import AdapterRefused
from trimtab.settings import GateSettings
from workers.evaluate import Answers, Scorecard
from workers.plan import ALONE, ENOUGH_TO_COMPARE, ENOUGH_TO_RANK, FITS, Plan
from workers.remedies.centre import propose_centre
from workers.remedies.head import propose_head
from workers.remedies.known import NAME as KNOWN
from workers.remedies.known import propose_known
from workers.remedies.lora import propose_lora
from workers.remedies.prior import propose_prior
from workers.remedies.reference import propose_reference
from workers.remedies.self_training import propose_self_training
from workers.remedies.temperature import propose_temperature
from workers.task import Declined, Proposal, Task

NEAR, CLEAR = 1.0, 2.0  # standard errors: so near the cheaper is as good; so far the plan's default is worse
Doubles = npt.NDArray[np.float64]
Propose = Callable[[Task], Proposal | Declined]

REMEDIES: Mapping[str, Propose] = {
    "reference": propose_reference,
    "prior": propose_prior,
    "temperature": propose_temperature,
    "centre": propose_centre,
    "known": propose_known,
    "head": propose_head,
    "lora": propose_lora,
    "self_training": propose_self_training,
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the contest's table; numbers are of the selection labels.

    Attributes:
        name: The rival's, or "champion".
        state: "champion", "chosen", "beaten", "forgets" or "declined".
        reason: What it did, or why it proposes nothing.
        cost: Rank by expense.
        n, accuracy, balanced_accuracy: On the new domain's selection labels.
        gain, gain_error: Over the champion, with the paired standard error.
        behind, behind_error: Of the best, likewise, in the mean over the new and the past domains.
        losses: Accuracy lost against the champion on each past domain's selection labels.
    """

    name: str
    state: str
    reason: str
    cost: int | None = None
    n: int = 0
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    gain: float | None = None
    gain_error: float | None = None
    behind: float | None = None
    behind_error: float | None = None
    losses: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """The one that meets the gate (None: nobody proposed anything), why, and the table of all."""

    chosen: Proposal | None
    reason: str
    entries: tuple[Entry, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON object for manifest and verdict."""
        name = None if self.chosen is None else self.chosen.name
        return {"chosen": name, "reason": self.reason, "rivals": [asdict(entry) for entry in self.entries]}


@dataclass(frozen=True)
class Scored:
    """A rival with its scorecard on the new domain, its losses on the past ones, and those that it forgets.

    past: by domain, (n,) 1 for a right and 0 for a wrong answer, times the text's weight where shares have moved.
    """

    name: str
    cost: int
    reason: str
    score: Scorecard
    past: Mapping[str, Doubles] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    forgets: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Accuracy, in the mean over the domains."""
        return float(np.mean([self.score.accuracy, *(rights.mean() for rights in self.past.values())]))

    @property
    def rank(self) -> tuple[int, float, float]:
        """Cheapest first, then the most accurate, then the least forgetful."""
        return self.cost, -self.score.accuracy, self.worst

    @property
    def worst(self) -> float:
        """The largest loss."""
        return max(self.losses.values(), default=0.0)


@dataclass(frozen=True)
class Decided:
    """The best of those that may be chosen (None where nothing was compared), the chosen one, and why."""

    best: Scored | None
    chosen: Scored | None
    reason: str


def choose(task: Task, plan: Plan, gate: GateSettings) -> Choice:
    """Makes every rival's candidate and compares them; fits share the time. Raises what `task.report` raises."""
    fits = sum(FITS.get(rival.name, 0) for rival in plan.rivals)
    if task.max_seconds is not None:
        task = replace(task, max_seconds=task.max_seconds / max(fits, 1))
    entrants = entrants_of(task, plan)
    task.report("contest", 0, 1)
    return compare(task, entrants, plan.default, gate)


def entrants_of(task: Task, plan: Plan) -> list[Proposal | Declined]:
    """What every rival comes to; where no answer is to change nothing can be compared, and the first one stands."""
    found: list[Proposal | Declined] = []
    for rival in plan.rivals:
        first = next((each.name for each in found if isinstance(each, Proposal)), None)
        if plan.situation in ALONE and first is not None:
            found.append(Declined(rival.name, f"not needed: {first} proposes something"))
        else:
            found.append(propose(task, rival.name))
    return found


def propose(task: Task, name: str) -> Proposal | Declined:
    """The candidate of one remedy; one that cannot be served (a weight is not finite, say) counts as declined."""
    task.report(name, 0, 1)
    if name not in REMEDIES:
        return Declined(name, "there is no such remedy")
    try:
        return REMEDIES[name](task)
    except AdapterRefused as error:
        return Declined(name, f"what came of it cannot be served: {error}")


def compare(task: Task, entrants: Sequence[Proposal | Declined], default: str, gate: GateSettings) -> Choice:
    """The choice among the entrants.

    Args:
        default: Name of the remedy that is taken where the selection labels are too few to compare.
        gate: Its margins: `max_forgetting` for the past domains, `min_gain` for the new one.
    """
    proposals = {each.name: each for each in entrants if isinstance(each, Proposal)}
    champion = _score(task, task.champion.answers)
    shares = next((each.shares for each in proposals.values() if each.shares is not None), None)
    scored = [_scored(task, each, gate.max_forgetting, shares) for each in proposals.values()]
    decided = decide(scored, champion, default, gate.min_gain)
    table = [Entry(name="champion", state="champion", reason="what serves now", **_numbers(champion))]
    table += [_entry(each, champion, decided) for each in sorted(scored, key=lambda each: each.rank)]
    table += [
        Entry(name=each.name, state="declined", reason=each.reason)
        for each in entrants
        if isinstance(each, Declined)
    ]
    chosen = None if decided.chosen is None else proposals[decided.chosen.name]
    return Choice(chosen, decided.reason, tuple(table))


def decide(scored: Sequence[Scored], champion: Scorecard, default: str, min_gain: float) -> Decided:
    """The cheapest within one standard error of the best, of those that forget nothing and gain something.

    Where all forget, the one that forgets least; where none gains `min_gain`, all of them: the gate then says so.
    """
    standing = [each for each in scored if not each.forgets] or sorted(scored, key=lambda each: each.worst)[
        :1
    ]
    if not standing:
        return Decided(None, None, "no remedy proposes anything")
    if champion.n < ENOUGH_TO_COMPARE:
        usual = [each for each in standing if each.name.startswith(default)] or standing
        few = f"{champion.n} selection labels compare nothing: the plan's default is taken"
        return Decided(None, min(usual, key=lambda each: each.rank), few)
    if champion.n < ENOUGH_TO_RANK:
        return _by_default(standing, champion, default, min_gain)
    gaining = [each for each in standing if each.score.accuracy - champion.accuracy >= min_gain]
    able = gaining or standing
    best = min(able, key=lambda each: (-each.mean, each.rank))
    chosen = min((each for each in able if _within(NEAR, each, best)), key=lambda each: each.rank)
    return Decided(best, chosen, _why(chosen, best, champion, gains=bool(gaining)))


def _by_default(standing: Sequence[Scored], champion: Scorecard, default: str, min_gain: float) -> Decided:
    """The plan's default unless another is more than two standard errors better: few labels rank no closer ones.

    A version that was accepted before has passed its gate, and comes before both.
    """
    best = min(standing, key=lambda each: (-each.mean, each.rank))
    usual = [each for each in standing if each.name.startswith((KNOWN, default))]
    near = [each for each in usual if _within(CLEAR, each, best)]
    chosen = min(near, key=lambda each: each.rank, default=best)
    gains = chosen.score.accuracy - champion.accuracy >= min_gain
    return Decided(best, chosen, _why(chosen, best, champion, gains=gains))


def _why(chosen: Scored, best: Scored, champion: Scorecard, *, gains: bool) -> str:
    gain = chosen.score.accuracy - champion.accuracy
    said = f"{chosen.name}: accuracy {gain:+.3f} on {champion.n} selection labels"
    if chosen.forgets:
        said += f"; it loses {chosen.worst:.3f} elsewhere, every other rival more"
    if not gains:
        said += "; no rival gains enough there"
    if chosen is best:
        return f"{said}; the best of those that may be chosen"
    behind, error = behind_of(best, chosen)
    ranked = champion.n >= ENOUGH_TO_RANK
    why = "cheapest within one standard error" if ranked else "plan's default within two standard errors"
    return f"{said}; over all domains the {why} (of {error:.3f}) of {best.name}, {behind:.3f} behind"


def _within(errors: float, rival: Scored, best: Scored) -> bool:
    behind, error = behind_of(best, rival)
    limit = errors * error
    return behind <= limit or math.isclose(behind, limit)  # one text of n is exactly one standard error


def behind_of(best: Scored, rival: Scored) -> tuple[float, float]:
    """How far the rival is behind in the mean over the domains, and the standard error of that."""
    found = [paired(best.score.right, rival.score.right)]
    found += [paired(rights, rival.past[domain]) for domain, rights in best.past.items()]
    behind, errors = zip(*found, strict=True)
    return sum(behind) / len(found), math.hypot(*errors) / len(found)


def paired(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> tuple[float, float]:
    """Mean of (n,) one minus other, of the same texts, and the standard error of the difference."""
    difference = one.astype(np.float64) - other
    if difference.size < 2:
        return float(difference.sum()), math.inf
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(difference.size))


def importance(shares: Doubles | None, truth: npt.NDArray[np.int64]) -> Doubles | None:
    """(n,) weights under which labelled texts have the classes' (k,) shares of today; None where none are given.

    A prior correction is right for q(y): a text of class y counts q(y) / p(y), p being the shares of this very set, so
    that sets collected under other shares are all judged on what the traffic is now.
    """
    if shares is None:
        return None
    have = np.bincount(truth, minlength=len(shares)) / max(len(truth), 1)
    return np.asarray(shares[truth] / have[truth], dtype=np.float64)


def _score(task: Task, answers: Answers) -> Scorecard:
    domain = task.domain if task.named else None
    return answers.scorecard(task.selection.texts, task.selection.labels, domain)


def _scored(task: Task, proposal: Proposal, margin: float, shares: Doubles | None) -> Scored:
    """shares: of the classes today, where a rival corrects for them: under these all past sets are compared."""
    losses: dict[str, float] = {}
    past: dict[str, Doubles] = {}
    forgets: list[str] = []
    for domain, kept in task.past.items():
        before, after = (
            answers.scorecard(kept.texts, kept.labels, domain)
            for answers in (task.champion.answers, proposal.answers)
        )
        if after.n > 1:
            mass = importance(shares, kept.labels)
            past[domain] = after.right * (np.ones(after.n) if mass is None else mass / mass.mean())
        weights = importance(proposal.shares, kept.labels)
        found = weighted_loss(before, after, np.ones(before.n) if weights is None else weights)
        if found is not None:
            losses[domain] = found[0]
            if found[1] > margin:
                forgets.append(domain)
    score = _score(task, proposal.answers)
    return Scored(proposal.name, proposal.cost, proposal.reason, score, past, losses, tuple(forgets))


def weighted_loss(before: Scorecard, after: Scorecard, mass: Doubles) -> tuple[float, float] | None:
    """Accuracy lost on (n,) weighted texts, and the same had one text less been lost; None without any weight.

    The second is held against the margin: where a set is small, one text is more than the margin and says nothing.
    """
    total = float(mass.sum())
    if not total:
        return None
    lost = float((mass * (before.right.astype(np.float64) - after.right)).sum())
    return lost / total, (lost - float(mass.mean())) / total


def _entry(each: Scored, champion: Scorecard, decided: Decided) -> Entry:
    gain, gain_error = paired(each.score.right, champion.right)
    behind, behind_error = (None, None) if decided.best is None else behind_of(decided.best, each)
    return Entry(
        name=each.name,
        state="chosen" if each is decided.chosen else "forgets" if each.forgets else "beaten",
        reason=each.reason,
        cost=each.cost,
        gain=gain if champion.n else None,
        gain_error=_finite(gain_error),
        behind=behind,
        behind_error=_finite(behind_error),
        losses=each.losses,
        **_numbers(each.score),
    )


def _numbers(score: Scorecard) -> dict[str, Any]:
    if not score.n:
        return {}
    return {"n": score.n, "accuracy": score.accuracy, "balanced_accuracy": score.balanced_accuracy}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
