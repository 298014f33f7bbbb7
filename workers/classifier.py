"""The network while it is trained: the pristine encoder as it is served, LoRA on its linear layers, a linear head.

The LoRA layers are our own: as plain peft computes them, without its dropout, and with a backward pass that asks the
fast product of trimtab.kernels for the gradient too. What is saved is what peft saves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from trimtab.adapter import CONFIG, HEAD, WEIGHTS
from trimtab.base import BaseModel
from trimtab.bundle import PREFIX, TRAINED_ON, lora_pairs, lora_scaling, read_tensors
from trimtab.errors import MalformedAdapter
from trimtab.features import Floats
from trimtab.kernels import linears, product
from trimtab.packing import packed_states, padded_states, share_tensors

RANK = 8
SCALING = 2.0
# In the names of layers that pooling by mean never reads, or that a checkpoint finishes its states with.
UNUSED = "pooler"


@dataclass(frozen=True)
class LoraShape:
    """Which layers are adapted, at what rank, and the factor of B @ A."""

    targets: tuple[str, ...]
    rank: int = RANK
    scaling: float = SCALING


class TrainableClassifier(nn.Module):
    """logits = head(mean of the last states). Only LoRA and head are trained; the base is never written to."""

    def __init__(self, base: BaseModel, n_labels: int, seed: int, shape: LoraShape | None = None) -> None:
        super().__init__()
        self.base = base
        self.shape = shape or default_shape(base)
        self.encoder = _with_lora(base, self.shape, torch.Generator().manual_seed(seed))
        self.head = nn.Linear(base.hidden_size, n_labels).to(base.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """(n, k) logits of n encoded texts; neighbours should be of similar length."""
        logits: Tensor = self.head(self.states(ids))
        return logits

    def states(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """(n, h) fp32 mean of the last hidden states: without padding where the encoder allows it."""
        first = self.base.runner.first_position
        if first is None:
            return padded_states(self.encoder, ids, self.base.pad_id, self.base.device)
        # Neighbours of equal length share a call of the attention kernel.
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        states = packed_states(self.encoder, [ids[i] for i in order], first, self.base.device)
        return states[np.argsort(order)]

    def lora_layers(self) -> dict[str, LoraLinear]:
        """The adapted layers by their names in the base."""
        found = dict(self.encoder.named_modules())
        return {name: layer for name, layer in found.items() if isinstance(layer, LoraLinear)}

    def lora_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]

    def predict_logits(self, texts: Sequence[str], max_tokens: int, batch: int = 32) -> Floats:
        """(n, k) logits of the unmerged network: what the merged bundle must reproduce."""
        ids = self.base.encode(texts, max_tokens)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        logits = np.empty((len(ids), self.head.out_features), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                logits[chosen] = self([ids[i] for i in chosen]).float().cpu().numpy()
        return logits

    def files(self) -> dict[str, bytes]:
        """adapter_model.safetensors and adapter_config.json as plain peft reads them, and head.safetensors."""
        pairs = {name: (layer.down, layer.up) for name, layer in self.lora_layers().items()}
        weights = {f"{PREFIX}{name}.lora_A.weight": down for name, (down, _) in pairs.items()}
        weights |= {f"{PREFIX}{name}.lora_B.weight": up for name, (_, up) in pairs.items()}
        return {
            WEIGHTS: save(_on_cpu(weights), metadata={TRAINED_ON: self.base.digest}),
            CONFIG: json.dumps(_peft_config(self.shape, self.base.name), indent=1, sort_keys=True).encode(),
            HEAD: save(_on_cpu(self.head.state_dict())),
        }


class LoraLinear(nn.Module):
    """y = x W' + b + scaling * (x A') B' with a frozen W: down is A (r, in), up is B (out, r)."""

    def __init__(self, frozen: nn.Linear, rank: int, scaling: float, random: torch.Generator) -> None:
        super().__init__()
        self.weight, self.bias, self.scaling = frozen.weight, frozen.bias, scaling
        down = torch.empty(rank, frozen.in_features)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=random)  # as peft does
        self.down = nn.Parameter(down.to(frozen.weight.device))
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank, device=frozen.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        up = self.scaling * self.up
        if x.is_cuda:  # autocast chooses the kernels there
            low = nn.functional.linear(x, self.down)
            return nn.functional.linear(x, self.weight, self.bias) + nn.functional.linear(low, up)
        out: Tensor = _Lora.apply(x, self.weight, self.bias, self.down, up)  # type: ignore[no-untyped-call]
        return out


class FrozenLinear(nn.Module):
    """y = x W' + b by the fast product, which has no gradient of its own."""

    def __init__(self, frozen: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = frozen.weight, frozen.bias

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            return nn.functional.linear(x, self.weight, self.bias)
        out: Tensor = _Frozen.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


class _Frozen(torch.autograd.Function):
    """A linear layer whose weights have no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return product(grads[0], weight.t()), None, None


class _Lora(torch.autograd.Function):
    """x W' + b + (x A') B' in one node, of whose results nothing but (x A') is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        low = rows @ down.t()
        ctx.save_for_backward(rows, low, weight, down, up)
        return product(rows, weight, bias).addmm_(low, up.t()).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, down, up = ctx.saved_tensors
        grad = grads[0].flatten(0, -2)
        low_grad = grad @ up
        # low' grad is several times as fast as its transpose, grad' low.
        down_grad, up_grad = low_grad.t() @ rows, (low.t() @ grad).t()
        if not ctx.needs_input_grad[0]:
            return None, None, None, down_grad, up_grad
        below = product(grad, weight.t()).addmm_(low_grad, down)
        return below.view(*grads[0].shape[:-1], -1), None, None, down_grad, up_grad


def default_shape(base: BaseModel) -> LoraShape:
    """Every linear layer of the encoder but the pooler, which mean pooling never reads (ADR 0020)."""
    found = [name for name, _ in linears(base.encoder)]
    return LoraShape(tuple(sorted(name for name in found if UNUSED not in name)))


def continue_from(
    base: BaseModel, files: Mapping[str, bytes], n_labels: int, seed: int
) -> TrainableClassifier:
    """A classifier that starts at a version's LoRA and head, with its layers and its rank, whatever is usual now.

    Raises MalformedAdapter when a file cannot be read or does not fit the base or the labels.
    """
    pairs = lora_pairs(read_tensors(files[WEIGHTS], WEIGHTS))
    head = read_tensors(files[HEAD], HEAD)
    ranks = {len(down) for _, down, _ in pairs} or {RANK}
    if len(ranks) > 1:
        raise MalformedAdapter(f"{WEIGHTS}: one rank for all layers is continued, not {sorted(ranks)}")
    shape = LoraShape(tuple(sorted(name for name, _, _ in pairs)), ranks.pop(), lora_scaling(files[CONFIG]))
    network = TrainableClassifier(base, n_labels, seed, shape)
    layers = network.lora_layers()
    try:
        for name, down, up in pairs:
            _fill(layers[name].down, down)
            _fill(layers[name].up, up)
        _fill(network.head.weight, head["weight"])
        _fill(network.head.bias, head["bias"])
    except (KeyError, ValueError) as error:
        raise MalformedAdapter(f"{WEIGHTS} or {HEAD} does not fit the base model: {error}") from None
    return network


def _fill(parameter: Tensor, values: Tensor) -> None:
    if parameter.shape != values.shape:
        raise ValueError(f"shape {tuple(values.shape)} instead of {tuple(parameter.shape)}")
    with torch.no_grad():
        parameter.copy_(values)


def _with_lora(base: BaseModel, shape: LoraShape, random: torch.Generator) -> nn.Module:
    """A copy of the encoder as it is run, sharing every tensor, whose linear layers can be trained through."""
    encoder = share_tensors(base.runner.encoder)
    for name, layer in linears(encoder):
        adapted = name in shape.targets
        trained = LoraLinear(layer, shape.rank, shape.scaling, random) if adapted else FrozenLinear(layer)
        encoder.set_submodule(name, trained)
    # Dropout stays off: ADR 0020.
    return encoder.eval()


def _peft_config(shape: LoraShape, base_name: str) -> dict[str, Any]:
    """What plain peft reads, and nothing that only describes a training."""
    alpha = shape.scaling * shape.rank
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_name,
        "r": shape.rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "target_modules": list(shape.targets),
        "inference_mode": True,
    }


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
