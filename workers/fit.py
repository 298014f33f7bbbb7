"""The one training loop: batches of similar length, AdamW, warm-up and linear decay, clipping, optional replay."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trimtab.features import Floats
from workers.classifier import TrainableClassifier
from workers.objectives.derpp import ALPHA, BETA, derpp_loss
from workers.objectives.supervised import class_weights, cross_entropy

# Batches whose texts are sorted by length together: enough to save padding, few enough to keep batches random.
BATCHES_PER_POOL = 16


@dataclass(frozen=True)
class TrainingSet:
    """Labelled texts: n texts and (n,) label indices."""

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ReplaySet:
    """Exemplars: n texts, (n,) label indices, (n, k) logits recorded when they were stored."""

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: Floats


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyper-parameters of one fit; recorded in the manifest."""

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


@dataclass(frozen=True)
class FitReport:
    """What a fit did."""

    steps: int
    seconds: float
    last_loss: float


@dataclass(frozen=True)
class Batch:
    """Indices of one step: new rows, replay rows for the logits term, replay rows for the label term."""

    new: tuple[int, ...]
    dark: tuple[int, ...] = ()
    labelled: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Encoded:
    """Token ids, labels and (for replay) stored logits, ready to be cut into batches."""

    ids: list[list[int]]
    labels: Tensor
    logits: Tensor | None = None


Step = Callable[[int, int], None]


def fit(
    network: TrainableClassifier, new: TrainingSet, replay: ReplaySet | None, recipe: Recipe, on_step: Step
) -> FitReport:
    """Trains LoRA and head on the new rows, with DER++ on the replay rows; `on_step(step, of)` after every step.

    The same inputs, seed and thread count give the same weights on a CPU. Whatever `on_step` raises ends the fit.
    """
    torch.manual_seed(recipe.seed)
    device = network.base.device
    fresh = _encode(network, new.texts, new.labels, recipe.max_tokens)
    kept = None if replay is None or not replay.texts else _encode_replay(network, replay, recipe.max_tokens)
    weights = class_weights(np.bincount(new.labels, minlength=network.head.out_features).tolist()).to(device)
    of = recipe.epochs * -(-len(new.texts) // recipe.batch)
    optimiser = _optimiser(network, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _pace(step, of, recipe.warm_up))
    started, step, loss_value = time.monotonic(), 0, 0.0
    network.train()
    for batch in batches(fresh.ids, None if kept is None else kept.ids, recipe):
        loss = _loss(network, fresh, kept, batch, weights, recipe)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], recipe.clip)
        optimiser.step()
        schedule.step()
        step, loss_value = step + 1, loss.item()
        on_step(step, of)
    network.eval()
    return FitReport(step, time.monotonic() - started, loss_value)


def batches(
    new: Sequence[Sequence[int]], replay: Sequence[Sequence[int]] | None, recipe: Recipe
) -> Iterator[Batch]:
    """Every epoch in random pools, each sorted by length and cut into batches, which then come in random order.

    Replay rows are drawn uniformly for a whole pool and sorted too, so that a step's texts are of similar length:
    half a batch for each of the two replay terms, drawn independently.
    """
    rng = random.Random(recipe.seed)
    for _ in range(recipe.epochs):
        order = rng.sample(range(len(new)), len(new))
        for start in range(0, len(order), recipe.batch * BATCHES_PER_POOL):
            pool = sorted(order[start : start + recipe.batch * BATCHES_PER_POOL], key=lambda i: len(new[i]))
            cuts = [tuple(pool[i : i + recipe.batch]) for i in range(0, len(pool), recipe.batch)]
            n_replay = 0 if not replay else len(cuts) * max(recipe.batch // 2, 1)
            dark, labelled = (_draw(rng, replay or (), n_replay) for _ in range(2))
            yield from rng.sample(_paired(cuts, dark, labelled), len(cuts))


def _draw(rng: random.Random, replay: Sequence[Sequence[int]], n: int) -> list[int]:
    return sorted((rng.randrange(len(replay)) for _ in range(n)), key=lambda i: len(replay[i]))


def _paired(cuts: Sequence[tuple[int, ...]], dark: Sequence[int], labelled: Sequence[int]) -> list[Batch]:
    share = len(dark) // len(cuts)
    spans = [slice(i * share, (i + 1) * share) for i in range(len(cuts))]
    return [Batch(cut, tuple(dark[s]), tuple(labelled[s])) for cut, s in zip(cuts, spans, strict=True)]


def _loss(
    network: TrainableClassifier,
    new: _Encoded,
    kept: _Encoded | None,
    batch: Batch,
    weights: Tensor,
    recipe: Recipe,
) -> Tensor:
    """One forward pass over new and replayed rows together, then the objectives."""
    ids = [new.ids[i] for i in batch.new]
    if kept is not None:
        ids += [kept.ids[i] for i in (*batch.dark, *batch.labelled)]
    logits = network(network.base.pad(ids))
    fresh, dark, labelled = logits.split([len(batch.new), len(batch.dark), len(batch.labelled)])
    loss = cross_entropy(fresh, new.labels[list(batch.new)], weights)
    if kept is None or kept.logits is None:
        return loss
    return loss + derpp_loss(
        dark,
        kept.logits[list(batch.dark)],
        labelled,
        kept.labels[list(batch.labelled)],
        alpha=recipe.derpp_alpha,
        beta=recipe.derpp_beta,
    )


def _encode(
    network: TrainableClassifier, texts: Sequence[str], labels: npt.NDArray[np.int64], max_tokens: int
) -> _Encoded:
    ids = network.base.encode(texts, max_tokens)
    return _Encoded(ids, torch.from_numpy(labels.astype(np.int64)).to(network.base.device))


def _encode_replay(network: TrainableClassifier, replay: ReplaySet, max_tokens: int) -> _Encoded:
    encoded = _encode(network, replay.texts, replay.labels, max_tokens)
    return _Encoded(encoded.ids, encoded.labels, torch.from_numpy(replay.logits).to(network.base.device))


def _optimiser(network: TrainableClassifier, recipe: Recipe) -> torch.optim.AdamW:
    groups = [
        {"params": network.lora_parameters(), "lr": recipe.lora_lr},
        {"params": list(network.head.parameters()), "lr": recipe.head_lr},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def _pace(step: int, of: int, warm_up: float) -> float:
    """Share of the learning rate at a step (from 0): rises linearly over the warm-up, falls linearly to 0."""
    rising = (step + 1) / max(warm_up * of, 1.0)
    falling = (of - step) / max((1.0 - warm_up) * of, 1.0)
    return max(min(rising, falling, 1.0), 0.0)
