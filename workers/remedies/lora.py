"""LoRA with replay: the champion's adapter is trained on, and of the way from old to new weights the best step is kept.

Training: DER++ (workers.objectives.derpp). Step: theta(a) = (1 - a) theta_old + a theta_new on the product B A and the
head (WiSE-FT: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, arXiv 2109.01903, equation 1). Of
the steps that lose no past domain's selection set more than the margin, the one with the largest gain is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from workers.artefact import Candidate, draft_of
from workers.batches import steps_per_epoch
from workers.classifier import continue_from
from workers.fit import FitReport, Recipe, TrainingSet, fit
from workers.lora import interpolate
from workers.remedies.temperature import nll
from workers.task import Declined, Proposal, Task

NAME = "lora"
MIN_PER_CLASS = 8
STEPS = (1.0, 0.8, 0.6, 0.4, 0.2)
MARGIN = 0.02  # of accuracy on a past domain's selection set, beyond the standard error of the difference
MIN_TO_CHOOSE = 40  # selection labels: with fewer chance would choose the step
# 600 labels, three times: with fewer labels as many steps, and not more than 16 passes over them (ADR 0025).
USUAL_STEPS = 112
MAX_EPOCHS = 16


@dataclass(frozen=True)
class Step:
    """A point between the champion and the trained weights.

    accuracy, nll: on the new domain's selection set. loss: the largest that a past domain suffers, of accuracy.
    """

    alpha: float
    candidate: Candidate
    accuracy: float
    nll: float
    loss: float

    def summary(self) -> dict[str, float]:
        return {"alpha": self.alpha, "accuracy": self.accuracy, "nll": self.nll, "loss": self.loss}


def propose_lora(task: Task) -> Proposal | Declined:
    """The champion's LoRA trained on with replay, at the step between old and new weights that serves both best."""
    counts = np.bincount(task.train.labels, minlength=len(task.labels))
    if counts.min() < MIN_PER_CLASS:
        rarest = task.labels[int(counts.argmin())]
        return Declined(NAME, f"{counts.min()} labels of {rarest!r} are too few: {MIN_PER_CLASS} are needed")
    files, fitted = train(task, task.train, recipe_of(task))
    how = f"LoRA trained on {len(task.train.texts)} labels with {len(task.replay.texts)} exemplars"
    return proposal_of(task, NAME, files, fitted, cost=5, reason=how)


def proposal_of(
    task: Task, name: str, files: dict[str, bytes], fitted: FitReport, *, cost: int, reason: str, **told: Any
) -> Proposal:
    """The best step from the champion towards these files as a proposal; `told` is added to what it says of itself."""
    steps = steps_between(task, files)
    best = choose_step(task, steps)
    return Proposal(
        name=name if best.alpha == 1.0 else f"{name}@{best.alpha:g}",
        candidate=best.candidate,
        cost=cost,
        reason=f"{reason}; {best.alpha:.0%} of the way from the champion",
        details={**told, "steps": [step.summary() for step in steps], "fit": asdict(fitted)},
    )


def recipe_of(task: Task) -> Recipe:
    """Hyper-parameters for this many labels."""
    epochs = epochs_for(len(task.train.texts), task.epochs)
    return Recipe(epochs=epochs, seed=task.seed, max_tokens=task.max_tokens, max_seconds=task.max_seconds)


def epochs_for(n: int, at_least: int) -> int:
    """Passes over n rows: so many that the usual number of steps is made, at least and at most so many."""
    wanted = round(USUAL_STEPS / max(steps_per_epoch(n, Recipe.batch), 1))
    return max(at_least, min(wanted, MAX_EPOCHS))


def train(task: Task, new: TrainingSet, recipe: Recipe) -> tuple[dict[str, bytes], FitReport]:
    """The champion's LoRA and head after a fit to `new` with the task's exemplars: files, and what the fit did."""
    network = continue_from(task.base, task.champion.files, len(task.labels), recipe.seed)
    fitted = fit(
        network,
        new,
        task.replay,
        recipe,
        lambda step, of: task.report("training", step, of),
        task.checkpoints,
    )
    return network.files(), fitted


def steps_between(task: Task, files: dict[str, bytes]) -> list[Step]:
    """Steps from the champion to these files, the largest first, each scored on selection sets only.

    All of them where labels tell them apart; else down to the first that loses nothing elsewhere.
    """
    steps: list[Step] = []
    for alpha in STEPS:
        steps.append(_step(task, files, alpha))
        if len(task.selection.texts) < MIN_TO_CHOOSE and steps[-1].loss <= MARGIN:
            break
    return steps


def choose_step(task: Task, steps: Sequence[Step]) -> Step:
    """The most accurate on the new domain of those that lose nothing elsewhere; else the one that loses least.

    Equal accuracy is told apart by the likelihood of the labels. Too few selection labels: the largest step.
    """
    harmless = [step for step in steps if step.loss <= MARGIN]
    if not harmless:
        return min(steps, key=lambda step: step.loss)
    if len(task.selection.texts) < MIN_TO_CHOOSE:
        return max(harmless, key=lambda step: step.alpha)
    return max(harmless, key=lambda step: (step.accuracy, -step.nll))


def candidate_of(task: Task, files: dict[str, bytes]) -> Candidate:
    """The merged candidate of LoRA and head files."""
    model = task.champion.bundle.model
    return draft_of(
        task.base, files, model=model, version=task.version, labels=task.labels, max_tokens=task.max_tokens
    )


def _step(task: Task, files: dict[str, bytes], alpha: float) -> Step:
    candidate = candidate_of(task, interpolate(task.champion.files, files, alpha).files)
    chosen = task.selection
    score = candidate.answers.scorecard(chosen.texts, chosen.labels)
    surprise = float("nan")
    if chosen.texts:
        surprise = nll(candidate.answers.outputs(chosen.texts).logits.astype(np.float64), chosen.labels)
    losses = [_loss(task, candidate, domain, past) for domain, past in task.past.items() if past.texts]
    return Step(alpha, candidate, score.accuracy, surprise, max(losses, default=0.0))


def _loss(task: Task, candidate: Candidate, domain: str, past: TrainingSet) -> float:
    """What a past domain loses, less the standard error of the difference: on few texts chance loses some."""
    before = task.champion.answers.scorecard(past.texts, past.labels, domain)
    after = candidate.answers.scorecard(past.texts, past.labels, domain)
    difference = before.right.astype(np.float64) - after.right
    return float(difference.mean() - difference.std() / np.sqrt(len(difference)))
