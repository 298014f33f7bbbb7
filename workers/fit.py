"""The one training loop: batches of similar length, AdamW, warm-up and linear decay, clipping, optional replay."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trimtab.features import Floats
from workers.batches import Batch, ReplayRows, endless_batches, replay_rows, steps_per_epoch
from workers.checkpoints import Checkpoints, Snapshot
from workers.classifier import TrainableClassifier
from workers.objectives.derpp import ALPHA, BETA, derpp_loss
from workers.objectives.supervised import Balance, class_balance, cross_entropy

# The first step warms caches up; the others of these tell how long a step takes.
MEASURED_STEPS = 5
# Share of the time that steps may take: the rest is for what comes after a fit.
TIME_FOR_STEPS = 0.8


@dataclass(frozen=True)
class TrainingSet:
    """Labelled texts: n texts and (n,) label indices."""

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ReplaySet:
    """Exemplars: n texts, (n,) label indices, (n, k) logits recorded when they were stored, and n domains or none.

    Steps draw evenly from every class of every domain.
    """

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: Floats
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyper-parameters of one fit; recorded in the manifest.

    max_seconds: the fit has fewer steps than its epochs where they would take more than 0.8 of this, by the time that
    the first ones take.
    """

    epochs: int
    seed: int
    batch: int = 16
    lora_lr: float = 1e-3
    head_lr: float = 5e-3
    weight_decay: float = 0.01
    warm_up: float = 0.1
    clip: float = 1.0
    max_tokens: int = 128
    derpp_alpha: float = ALPHA
    derpp_beta: float = BETA
    max_seconds: float | None = None


@dataclass(frozen=True)
class FitReport:
    """What a fit did.

    Attributes:
        steps: Steps that were made.
        seconds: Time that they took, over all attempts.
        last_loss: Loss of the last step.
        planned: Steps that the epochs would have; more than `steps` where the time did not allow them.
        resumed_at: Step of the checkpoint that this attempt went on from; 0 when it began anew.
        balance: How classes were balanced.
    """

    steps: int
    seconds: float
    last_loss: float
    planned: int = 0
    resumed_at: int = 0
    balance: str = ""


@dataclass(frozen=True)
class _Rows:
    """Token ids, labels and (for replay) stored logits, ready to be cut into batches."""

    ids: list[list[int]]
    labels: Tensor
    logits: Tensor | None = None

    @property
    def lengths(self) -> list[int]:
        return [len(row) for row in self.ids]


@dataclass(frozen=True)
class _Task:
    """What is learnt: new rows, replayed rows, and how their losses are put together."""

    new: _Rows
    kept: _Rows | None
    drawn: ReplayRows | None
    balance: Balance
    recipe: Recipe


@dataclass
class _Course:
    """Where a fit stands; with the weights and the optimiser's moments all that a checkpoint holds."""

    of: int
    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    measured: list[float] = field(default_factory=list)


Step = Callable[[int, int], None]


def fit(
    network: TrainableClassifier,
    new: TrainingSet,
    replay: ReplaySet | None,
    recipe: Recipe,
    on_step: Step,
    checkpoints: Checkpoints | None = None,
) -> FitReport:
    """Trains LoRA and head on the new rows, with DER++ on the replay rows; `on_step(step, of)` after every step.

    The same inputs, seed and thread count give the same weights on a CPU, in one go or in several: nothing is random
    but the batches, which are a function of the seed, and a checkpoint keeps the rest. How many steps there are is
    decided once. Whatever `on_step` raises ends the fit.
    """
    task = _prepare(network, new, replay, recipe)
    name = digest_of(network, new, replay, recipe)
    planned = recipe.epochs * steps_per_epoch(len(new.texts), recipe.batch)
    optimiser, course = _optimiser(network, recipe), _Course(of=planned)
    if checkpoints is not None:
        _restore(network, optimiser, course, checkpoints.load(name))
    resumed_at, saved = course.step, time.monotonic()
    batches = endless_batches(task.new.lengths, task.drawn, recipe.batch, recipe.seed)
    for batch in islice(batches, course.step, None):
        if course.step >= course.of:
            break
        started = time.monotonic()
        _advance(network, task, batch, optimiser, course)
        _account(course, time.monotonic() - started, recipe, name, checkpoints)
        if checkpoints is not None and _due(course, planned // recipe.epochs, saved, checkpoints.every_s):
            checkpoints.save(name, _snapshot(network, optimiser, course))
            saved = time.monotonic()
        on_step(course.step, course.of)
    return FitReport(course.step, course.seconds, course.loss, planned, resumed_at, task.balance.name)


def digest_of(
    network: TrainableClassifier, new: TrainingSet, replay: ReplaySet | None, recipe: Recipe
) -> str:
    """sha256 (hex) of all that a fit depends on: base, start, data and recipe."""
    digest = hashlib.sha256(network.base.digest.encode())
    for content in network.files().values():
        digest.update(content)
    digest.update(json.dumps([asdict(recipe), new.texts]).encode())
    digest.update(new.labels.astype(np.int64).tobytes())
    if replay is not None:
        digest.update(json.dumps([replay.texts, replay.domains]).encode())
        digest.update(replay.labels.astype(np.int64).tobytes() + replay.logits.astype(np.float32).tobytes())
    return digest.hexdigest()


def _prepare(
    network: TrainableClassifier, new: TrainingSet, replay: ReplaySet | None, recipe: Recipe
) -> _Task:
    counts = np.bincount(new.labels, minlength=network.head.out_features).tolist()
    balance = class_balance(counts).to(network.base.device)
    fresh = _encode(network, new.texts, new.labels, recipe.max_tokens)
    if replay is None or not replay.texts:
        return _Task(fresh, None, None, balance, recipe)
    rows = _encode(network, replay.texts, replay.labels, recipe.max_tokens)
    kept = _Rows(rows.ids, rows.labels, torch.from_numpy(replay.logits).to(network.base.device))
    domains = replay.domains or ("",) * len(replay.texts)
    groups = list(zip(domains, replay.labels.tolist(), strict=True))
    return _Task(fresh, kept, replay_rows(kept.lengths, groups), balance, recipe)


def _encode(
    network: TrainableClassifier, texts: Sequence[str], labels: npt.NDArray[np.int64], max_tokens: int
) -> _Rows:
    ids = network.base.encode(texts, max_tokens)
    return _Rows(ids, torch.from_numpy(labels.astype(np.int64)).to(network.base.device))


def _advance(
    network: TrainableClassifier, task: _Task, batch: Batch, optimiser: torch.optim.AdamW, course: _Course
) -> None:
    """One step: loss, gradient, clipping, update."""
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * _pace(course.step, course.of, task.recipe.warm_up)
    loss = _loss(network, task, batch)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], task.recipe.clip)
    optimiser.step()
    course.step, course.loss = course.step + 1, loss.item()


def _loss(network: TrainableClassifier, task: _Task, batch: Batch) -> Tensor:
    """One forward pass over new and replayed rows together, then the objectives. Half precision on CUDA."""
    ids = [task.new.ids[i] for i in batch.new]
    if task.kept is not None:
        ids += [task.kept.ids[i] for i in (*batch.dark, *batch.labelled)]
    cuda = network.base.device.type == "cuda"
    with torch.autocast(network.base.device.type, torch.bfloat16, enabled=cuda):
        logits = network(ids)
    fresh, dark, labelled = logits.float().split([len(batch.new), len(batch.dark), len(batch.labelled)])
    loss = cross_entropy(fresh, task.new.labels[list(batch.new)], task.balance)
    if task.kept is None or task.kept.logits is None:
        return loss
    return loss + derpp_loss(
        dark,
        task.kept.logits[list(batch.dark)],
        labelled,
        task.kept.labels[list(batch.labelled)],
        alpha=task.recipe.derpp_alpha,
        beta=task.recipe.derpp_beta,
    )


def _account(
    course: _Course, seconds: float, recipe: Recipe, name: str, checkpoints: Checkpoints | None
) -> None:
    """Counts the time; after the measured steps decides, once, how many there will be."""
    course.seconds += seconds
    if course.step > MEASURED_STEPS or recipe.max_seconds is None:
        return
    course.measured.append(seconds)
    if course.step == MEASURED_STEPS:
        each = sum(course.measured[1:]) / (MEASURED_STEPS - 1)
        affordable = int(TIME_FOR_STEPS * recipe.max_seconds / each)
        course.of = max(MEASURED_STEPS, min(course.of, affordable))
        if checkpoints is not None and checkpoints.fixed_steps is not None:
            course.of = checkpoints.fixed_steps(name, course.of)


def _due(course: _Course, epoch: int, saved: float, every_s: float) -> bool:
    """Whether a checkpoint is written now: in time, at the end of an epoch, when the steps are decided, at the end."""
    marks = course.step % epoch == 0 or course.step in {MEASURED_STEPS, course.of}
    return marks or time.monotonic() - saved >= every_s


def _trained(network: TrainableClassifier) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def _snapshot(network: TrainableClassifier, optimiser: torch.optim.AdamW, course: _Course) -> Snapshot:
    tensors: dict[str, Tensor] = {}
    for name, parameter in _trained(network).items():
        moments = optimiser.state[parameter]
        tensors |= {
            f"weight.{name}": parameter.detach().cpu(),
            f"mean.{name}": moments["exp_avg"].cpu(),
            f"square.{name}": moments["exp_avg_sq"].cpu(),
        }
    return Snapshot(asdict(course), {name: tensor.contiguous() for name, tensor in tensors.items()})


def _restore(
    network: TrainableClassifier, optimiser: torch.optim.AdamW, course: _Course, snapshot: Snapshot | None
) -> None:
    """Goes on from a snapshot of this very fit (its name is a digest of all that it depends on)."""
    if snapshot is None:
        return
    for name, value in snapshot.facts.items():
        setattr(course, name, value)
    for name, parameter in _trained(network).items():
        with torch.no_grad():
            parameter.copy_(snapshot.tensors[f"weight.{name}"])
        optimiser.state[parameter] = {
            "step": torch.tensor(float(course.step)),
            "exp_avg": snapshot.tensors[f"mean.{name}"].to(parameter.device),
            "exp_avg_sq": snapshot.tensors[f"square.{name}"].to(parameter.device),
        }


def _optimiser(network: TrainableClassifier, recipe: Recipe) -> torch.optim.AdamW:
    groups = [
        {"params": network.lora_parameters(), "initial_lr": recipe.lora_lr},
        {"params": list(network.head.parameters()), "initial_lr": recipe.head_lr},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, foreach=False)


def _pace(step: int, of: int, warm_up: float) -> float:
    """Share of the learning rate at a step (from 0): rises linearly over the warm-up, falls linearly to 0."""
    rising = (step + 1) / max(warm_up * of, 1.0)
    falling = (of - step) / max((1.0 - warm_up) * of, 1.0)
    return max(min(rising, falling, 1.0), 0.0)
