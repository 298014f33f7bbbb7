"""The methods that are compared: each makes the next version from the version before and a task.

All continue one LoRA and one head with the same loop, learning rates and passes (`workers.fit`). Raise a method's
`code` when its numbers would change: its cells are run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.adaptation import fisher
from trimtab.base import BaseModel
from trimtab.drift import DriftKind
from trimtab.settings import GateSettings, TrainingSettings
from workers.artefact import Candidate, draft
from workers.classifier import TrainableClassifier, continue_from
from workers.contest import choose, propose
from workers.fit import Recipe, ReplaySet, TrainingSet, fit
from workers.plan import Situation as Planned
from workers.plan import make_plan
from workers.task import Declined, Proposal, Task

NAME = "s1"


@dataclass(frozen=True)
class Made:
    """A version, what a later step needs besides, and what the report tells of how it was made."""

    candidate: Candidate
    extra: Mapping[str, bytes] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """A task, and what only rivals from the literature need: the training set of the domain before."""

    task: Task
    before: TrainingSet


@dataclass(frozen=True)
class Method:
    """A column of the report.

    Attributes:
        learn: Makes the next version; None: a peer goes through the whole stream in a process of its own.
        few: With few labels a domain.
        unlabelled_only: Without labels, on the first domain of the first order alone.
        replays: Whether exemplars are kept from step to step.
    """

    name: str
    title: str
    code: int
    learn: Callable[[Situation], Made] | None
    few: bool = False
    unlabelled_only: bool = False
    replays: bool = False

    def domains_of(self, order: tuple[str, ...]) -> tuple[str, ...]:
        """The new domains of an order that this method learns."""
        return order[:1] if self.unlabelled_only else order


def start(
    base: BaseModel, labels: tuple[str, ...], training: Sequence[TrainingSet], epochs: int, seed: int
) -> Candidate:
    """A first version from these texts together."""
    network = TrainableClassifier(base, len(labels), seed)
    fit(network, together(training), None, Recipe(epochs=epochs, seed=seed), silent)
    return draft(network, model=NAME, version=1, labels=labels, max_tokens=Recipe.max_tokens)


def together(sets: Sequence[TrainingSet]) -> TrainingSet:
    """One set of all texts."""
    texts = tuple(text for each in sets for text in each.texts)
    return TrainingSet(texts, np.concatenate([each.labels for each in sets]))


def head(situation: Situation) -> Made:
    """Refits the head alone on the source's frozen features, with replay."""
    return _proposed(situation.task, propose(situation.task, "head"))


def unchanged(task: Task) -> Candidate:
    """The champion goes on."""
    return Candidate(dict(task.champion.files), task.champion.answers)


def naive(situation: Situation) -> Made:
    """Goes on with the new texts alone."""
    task = situation.task
    return Made(_trained(_continued(task), task, task.train, None, task.epochs))


def experience_replay(situation: Situation) -> Made:
    """As many exemplars as new texts, drawn once with replacement, in batches of both (Chaudhry et al. 2019)."""
    task, n = situation.task, len(situation.task.train.texts)
    drawn = np.random.default_rng(task.seed).choice(len(task.replay.texts), n)
    old = TrainingSet(tuple(task.replay.texts[i] for i in drawn), task.replay.labels[drawn])
    network = _continued(task)
    return Made(_trained(network, task, together([task.train, old]), None, task.epochs, batch=32))


def ewc(situation: Situation) -> Made:
    """Goes on with the new texts, held back where the old answers depend on a weight."""
    task, texts = situation.task, situation.before.texts[: fisher.MAX_TEXTS]
    network = _continued(task)
    new = fisher.fisher(network, texts, task.max_tokens)
    importance = fisher.added(new, fisher.restored(task.champion.files))
    fisher.hold(network, importance)
    candidate = _trained(network, task, task.train, None, task.epochs)
    return Made(candidate, extra={fisher.FISHER: fisher.stored(importance)})


def derpp(situation: Situation) -> Made:
    """Goes on with the new texts and DER++ replay: the plan's LoRA without choosing a step."""
    task = situation.task
    return Made(_trained(_continued(task), task, task.train, task.replay, task.epochs))


def plan(situation: Situation) -> Made:
    """The product: a plan for the situation, its rivals, the choice on the selection labels. No gate."""
    task = situation.task
    made = make_plan(planned(task), TrainingSettings(epochs=task.epochs, seed=task.seed))
    choice = choose(task, made, GateSettings())
    told = choice.as_json() | {"situation": made.situation}
    return Made(unchanged(task) if choice.chosen is None else choice.chosen.candidate, told=told)


def self_training(situation: Situation) -> Made:
    """The product's remedy for a domain without labels."""
    return _proposed(situation.task, propose(situation.task, "self_training"))


def planned(task: Task) -> Planned:
    """What the product's plan would be told: a change of the inputs, and what the task holds."""
    sets = {"train": task.train, "selection": task.selection}
    return Planned(
        n_window=len(task.window_texts),
        n_with_text=len(task.window_texts),
        counts={part: _by_label(each, task.labels) for part, each in sets.items()},
        labels=task.labels,
        n_memory=len(task.replay.texts),
        past_domains=tuple(task.past),
        drift=DriftKind.COVARIATE_HARMFUL,
        n_unlabelled=len(task.unlabelled),
        known=tuple(version.n for version in task.known),
    )


def _by_label(found: TrainingSet, labels: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(found.labels, minlength=len(labels))
    return {label: int(n) for label, n in zip(labels, counts, strict=True)}


def _proposed(task: Task, found: Proposal | Declined) -> Made:
    """What a remedy proposes; where it declines, the champion goes on."""
    if isinstance(found, Declined):
        return Made(unchanged(task), told={"chosen": "champion", "reason": found.reason})
    return Made(found.candidate, told={"chosen": found.name, "reason": found.reason})


def _continued(task: Task) -> TrainableClassifier:
    return continue_from(task.base, task.champion.files, len(task.labels), task.seed)


def _trained(
    network: TrainableClassifier,
    task: Task,
    new: TrainingSet,
    replay: ReplaySet | None,
    epochs: int,
    batch: int = 16,
) -> Candidate:
    recipe = Recipe(epochs=epochs, seed=task.seed, max_tokens=task.max_tokens, batch=batch)
    fit(network, new, replay, recipe, silent)
    return draft(network, model=NAME, version=task.version, labels=task.labels, max_tokens=task.max_tokens)


def silent(_step: int, _of: int) -> None:
    """Nobody watches."""


OURS = Method("plan", "the plan", 3, plan, replays=True)
FEW = Method("plan-few", "the plan, few labels", 4, plan, few=True, replays=True)
NO_LABELS = Method("self-training", "self-training, no labels", 2, self_training, unlabelled_only=True)
AVALANCHE = Method("avalanche", "Avalanche's replay", 1, None)
# In the order of importance: what is run first.
METHODS = (
    OURS,
    Method("naive", "naive fine-tuning", 1, naive),
    Method("er", "experience replay", 1, experience_replay, replays=True),
    Method("head", "head refit", 1, head, replays=True),
    FEW,
    NO_LABELS,
    Method("ewc", "EWC", 3, ewc),
    AVALANCHE,
    Method("derpp", "DER++ alone", 1, derpp, replays=True),
)
