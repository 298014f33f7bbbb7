"""What real traffic says about a version on trial: pure functions from its answers and their labels to a judgement.

Unseen it must answer as the champion does but for what labels explain, in shares that its own references expect. With
labels, before and while it answers clients, a test that may be looked at at any time asks whether it is worse than the
champion by more than is allowed; guards look at answers that no input explains.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.stats import binom

from monitoring.check import Baseline
from monitoring.histograms import Doubles
from monitoring.outputs import not_finite, unexplained
from trimtab.ledger.trial_answers import Judged
from trimtab.ledger.windows import PredictionWindow
from trimtab.settings import Settings, TrialSettings
from trimtab.stats.promise import PromiseTest, judge_drop
from trimtab.stats.sequential import SOURCE_LEVEL, upper_bound

FEWEST_GUARDED = 50  # answers; a mean over fewer says nothing about their shares
WAYS = 3  # to be stopped by chance: labels of unseen answers, labels of answers, guards. Each has alpha / 3.


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look at a trial found.

    Attributes:
        evidence: In plain JSON, for people.
        broken: Why the version is rejected; empty while nothing speaks against it.
        done: Whether the stage has seen enough.
    """

    evidence: Mapping[str, Any]
    broken: str = ""
    done: bool = False


def see_shadow(
    pairs: Mapping[tuple[str, str], int],
    labelled: Sequence[Judged],
    *,
    expected: float,
    baseline: Baseline | None,
    settings: TrialSettings,
) -> Seen:
    """Unseen answers so far.

    Args:
        pairs: {(champion's label, challenger's): predictions}.
        labelled: In the order in which labels arrived.
        expected: Share of answers on which the two may differ, as the gate's labels have shown it to be a gain.
        baseline: Of the challenger; None where it has no usable reference.
        settings: See `TrialSettings`.
    """
    n = sum(pairs.values())
    differing = sum(count for (one, other), count in pairs.items() if one != other)
    gained, lost = _gained_and_lost(labelled)
    test = judge_drop(list(paired(labelled)), settings.max_drop, settings.alpha / WAYS)
    away = None if baseline is None or not n else shares_away(baseline, _shares(pairs, baseline.labels))
    evidence = {
        "n": n, "of": settings.shadow_requests, "disagreement": differing / n if n else None,
        "explained_disagreement": settings.max_disagreement + expected, "gained": gained, "lost": lost,
        "shares_away": away, **_told(test, sum(each.shadow_right is not None for each in labelled)),
    }  # fmt: skip
    done = n >= settings.shadow_requests
    broken = _worse(test, settings.max_drop)
    if done and not broken:
        broken = _unlike(evidence, settings) or _elsewhere(evidence, settings)
    return Seen(evidence=evidence, broken=broken, done=done)


def see_canary(n: int, labelled: Sequence[Judged], *, elapsed_s: float, settings: TrialSettings) -> Seen:
    """Answers that clients got from the challenger.

    Args:
        n: So many in this stage.
        labelled: Of the whole trial, in the order in which labels arrived.
        elapsed_s: Since the stage began.
        settings: See `TrialSettings`.
    """
    test = judge_drop(list(matched(labelled)), settings.max_drop, settings.alpha / WAYS)
    evidence = {
        "n": n, "of": settings.stage_requests,
        **_told(test, sum(each.by_challenger for each in labelled)), **accuracies(labelled),
    }  # fmt: skip
    done = n >= settings.stage_requests or elapsed_s >= settings.stage_s
    return Seen(evidence=evidence, broken=_worse(test, settings.max_drop), done=done)


def guarded(seen: Seen, window: PredictionWindow, baseline: Baseline, settings: Settings) -> Seen:
    """The same, broken where an answer is not finite, or at the end of a stage where no input explains the answers.

    window: the newest answers that the challenger gave in this stage.
    """
    broken = seen.broken or not_finite(baseline, window)
    if not broken and seen.done and len(window) >= FEWEST_GUARDED:
        alpha = settings.trial.alpha / WAYS / len(settings.trial.canary_shares)
        broken = unexplained(baseline, window, alpha=alpha, min_effect=settings.drift.min_effect)
    return replace(seen, broken=broken)


def paired(labelled: Sequence[Judged]) -> Iterator[float]:
    """Challenger's loss less the champion's, on the rows that both answered."""
    for each in labelled:
        if each.shadow_right is not None:
            yield float(each.right) - each.shadow_right


def matched(labelled: Sequence[Judged]) -> Iterator[float]:
    """Loss of a row that the challenger answered less the champion's mean loss on rows that were labelled by then.

    Each row is used once, so that given the past the mean difference is that of the risks: a row of the challenger
    waits until the champion has one, and takes all that it has. Rows that both answered are left to `paired`.
    """
    waiting: list[float] = []
    champion: list[float] = []
    for each in labelled:
        if each.shadow_right is not None:
            continue
        (waiting if each.by_challenger else champion).append(1.0 - each.right)
        if waiting and champion:
            yield waiting.pop(0) - sum(champion) / len(champion)
            champion = []


def accuracies(labelled: Sequence[Judged]) -> dict[str, float | None]:
    """Share of right answers among the labelled ones, by who answered; None without any."""
    by = {
        "accuracy": [each.right for each in labelled if each.by_challenger],
        "champion_accuracy": [each.right for each in labelled if not each.by_challenger],
    }
    return {name: sum(right) / len(right) if right else None for name, right in by.items()}


def explained_by_gate(verdict: Mapping[str, Any] | None) -> float:
    """Upper bound of the share of answers on which just one of the two was right, in the gate's gain test.

    The gate drew its labels at random from the traffic that the version was made for, and found a gain: so many
    differences are what it is for. 0 without a gain test that was passed.
    """
    for check in (verdict or {}).get("checks", ()):
        share, n = check.get("discordance"), check.get("n")
        if check["name"].startswith("gain:") and check["result"] == "pass" and share is not None and n:
            return upper_bound(share * n, n, SOURCE_LEVEL)
    return 0.0


def shares_away(baseline: Baseline, shares: Doubles) -> float | None:
    """Total variation between class shares (k,) and the nearest mixture of what the version answers on its domains.

    These are shares of answers, not of true classes: what the version answers on a domain differs from the domain's
    prior by its confusions, remedies included. None where an older reference does not say what was answered.

    The nearest mixture w solves a linear program: minimise sum t / 2 with -t <= shares - w S <= t, w in the simplex.
    """
    predicted = [baseline.references.predicted[name] for name in baseline.known.names]
    known = np.array([_counted(each, len(baseline.labels)) for each in predicted if (each >= 0).all()])
    if not len(known):
        return None
    m, k = known.shape
    rows = np.block([[known.T, -np.eye(k)], [-known.T, -np.eye(k)]])
    nearest = linprog(
        np.concatenate([np.zeros(m), np.full(k, 0.5)]),
        A_ub=rows,
        b_ub=np.concatenate([shares, -shares]),
        A_eq=np.concatenate([np.ones(m), np.zeros(k)])[None],
        b_eq=[1.0],
    )
    weights = np.asarray(nearest.x, dtype=np.float64)[:m]
    return float(np.abs(shares - weights @ known).sum() / 2)


def _unlike(evidence: Mapping[str, Any], settings: TrialSettings) -> str:
    """Why answers differ from the champion's by more than labels explain; empty when they do not."""
    if evidence["disagreement"] <= evidence["explained_disagreement"]:
        return ""
    gained, decided = evidence["gained"], evidence["gained"] + evidence["lost"]
    if decided and binom.sf(gained - 1, decided, 0.5) <= settings.alpha:
        return ""
    return (
        f"it answers {evidence['disagreement']:.1%} of {evidence['n']} requests otherwise than the champion, "
        f"{evidence['explained_disagreement']:.1%} are explained; of {decided} labelled ones {gained} are a gain"
    )


def _elsewhere(evidence: Mapping[str, Any], settings: TrialSettings) -> str:
    away = evidence["shares_away"]
    if away is None or away <= settings.max_shares_away:
        return ""
    return f"its answers' class shares are {away:.2f} away from what it answers on any mixture of its domains"


def _worse(test: PromiseTest, max_drop: float) -> str:
    return f"labels show it to be worse than the champion by more than {max_drop:.1%}" if test.broken else ""


def _told(test: PromiseTest, n_labels: int) -> dict[str, Any]:
    return {"n_labels": n_labels, "statistic": test.statistic, "threshold": test.threshold}


def _gained_and_lost(labelled: Sequence[Judged]) -> tuple[int, int]:
    """Labelled rows on which only the unseen answer was right, and only the champion's."""
    both = [(each.right, each.shadow_right) for each in labelled if each.shadow_right is not None]
    return both.count((False, True)), both.count((True, False))


def _shares(pairs: Mapping[tuple[str, str], int], labels: Sequence[str]) -> Doubles:
    """(k,) shares of the challenger's unseen answers."""
    n_of = dict.fromkeys(labels, 0)
    for (_, shadow), n in pairs.items():
        n_of[shadow] = n_of.get(shadow, 0) + n
    return np.array([n_of[label] for label in labels], dtype=np.float64) / max(sum(pairs.values()), 1)


def _counted(predicted: Any, k: int) -> Doubles:
    return np.bincount(predicted, minlength=k) / len(predicted)
