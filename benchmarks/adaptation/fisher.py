"""Elastic weight consolidation: what moved the old answers most is held where it was.

F_i = E_x sum_y p(y | x) (d log p(y | x) / d theta_i)^2, per example, the expectation over the classes exact. The square
of a batch's mean gradient, which is often found in its place, is another quantity (van de Ven, "On the computation of
the Fisher information in continual learning", 2025, arXiv 2502.11756). Penalty: lambda / 2 sum_i F_i (theta_i -
theta*_i)^2 (Kirkpatrick et al., PNAS 2017, equation 3), one anchor, Fishers of the domains added up (online EWC with
gamma 1: Schwarz et al., ICML 2018), each divided by its mean, so that lambda does not depend on the model's scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional

from workers.classifier import TrainableClassifier

FISHER = "fisher.safetensors"
MAX_TEXTS = 300
# Of 0, .01, .03, .1, .3, 1, 3 and 10 the one with the highest mean balanced accuracy on the selection texts of movie
# and tweets after the first step of a split that the study does not use (seed 90): .880; 0: .858, 1: .858, 10: .859.
STRENGTH = 0.1

Tensors = dict[str, Tensor]


def fisher(network: TrainableClassifier, texts: Sequence[str], max_tokens: int) -> Tensors:
    """The diagonal at the network's weights, by trainable parameter; texts one at a time, without dropout."""
    network.eval()
    weights = trainable(network)
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for ids in network.base.encode(texts, max_tokens):
        scores = functional.log_softmax(network([ids]), dim=1)[0]
        for y, score in enumerate(scores):
            kept = y + 1 < len(scores)
            gradients = torch.autograd.grad(score, list(weights.values()), retain_graph=kept)
            share = float(score.detach().exp()) / len(texts)
            for total, gradient in zip(found.values(), gradients, strict=True):
                total.add_(share * gradient.square())
    return found


def added(new: Tensors, before: Tensors | None) -> Tensors:
    """A domain's Fisher divided by its mean, on top of those of the domains before."""
    n = sum(each.numel() for each in new.values())
    mean = sum(float(each.sum()) for each in new.values()) / n
    scaled = {name: each / max(mean, 1e-30) for name, each in new.items()}
    return scaled if before is None else {name: each + before[name] for name, each in scaled.items()}


def hold(network: TrainableClassifier, importance: Tensors, strength: float = STRENGTH) -> None:
    """From now on every backward pass adds the penalty's gradient, lambda F (theta - theta*), with theta* as of now."""
    for name, weight in trainable(network).items():
        anchor, factor = weight.detach().clone(), strength * importance[name]

        def pulled(
            gradient: Tensor, weight: Tensor = weight, anchor: Tensor = anchor, factor: Tensor = factor
        ) -> Tensor:
            return gradient + factor * (weight.detach() - anchor)

        weight.register_hook(pulled)  # type: ignore[no-untyped-call]


def trainable(network: TrainableClassifier) -> Tensors:
    return {name: weight for name, weight in network.named_parameters() if weight.requires_grad}


def stored(importance: Tensors) -> bytes:
    return save({name: each.contiguous() for name, each in importance.items()})


def restored(files: Mapping[str, bytes]) -> Tensors | None:
    """What an earlier step stored, if any."""
    return load(files[FISHER]) if FISHER in files else None
