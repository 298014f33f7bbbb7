"""Arithmetic on adapters: what they add to the base, how far two of them are apart, and points between them.

Everything works on the products scaling * B @ A, never on A and B: many pairs have one product, so that means and
distances of the factors say nothing. Products are kept as factors (rank 8, or 16 for a difference), and exact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor

from trimtab.adapter import CONFIG, HEAD, WEIGHTS
from trimtab.bundle import PREFIX, TRAINED_ON, lora_pairs, lora_scaling, read_tensors, trained_on

Files = Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class LowRank:
    """The matrix up @ down: up (out, r), down (r, in), both fp64."""

    up: Tensor
    down: Tensor

    @property
    def matrix(self) -> Tensor:
        """(out, in)"""
        return self.up @ self.down

    def scaled(self, factor: float) -> LowRank:
        return LowRank(factor * self.up, self.down)

    def __add__(self, other: LowRank) -> LowRank:
        """Exact, by concatenation: the ranks add up."""
        return LowRank(torch.cat([self.up, other.up], dim=1), torch.cat([self.down, other.down], dim=0))

    def inner(self, other: LowRank) -> float:
        """Frobenius inner product, from the factors: <U D, V E> = sum (U'V) * (D E')."""
        return float(((self.up.T @ other.up) * (self.down @ other.down.T)).sum())


Layers = Mapping[str, LowRank]


@dataclass(frozen=True)
class Distance:
    """How one change of the base's weights compares with another, all layers together as one long vector.

    norm: Frobenius norm of the change. cosine: with the other change, in [-1, 1]; 0 when one of them is nothing.
    """

    norm: float
    cosine: float


@dataclass(frozen=True)
class Interpolated:
    """A point between two versions: the three files that differ, and what the return to a low rank cost.

    truncation: Frobenius norm of what was cut off, relative to that of the exact product; worst is the largest of a
    single layer.
    """

    files: dict[str, bytes]
    truncation: float
    worst: float


def factors(files: Files) -> dict[str, LowRank]:
    """What a version adds to the base, by layer, as factors. Raises MalformedAdapter."""
    scaling = lora_scaling(files[CONFIG])
    pairs = lora_pairs(read_tensors(files[WEIGHTS], WEIGHTS))
    return {name: LowRank(scaling * up.double(), down.double()) for name, down, up in pairs}


def delta(files: Files) -> dict[str, Tensor]:
    """What a version adds to the base: layer -> (out, in) fp64. Raises MalformedAdapter."""
    return {name: layer.matrix for name, layer in factors(files).items()}


def change(parent: Files, child: Files) -> dict[str, LowRank]:
    """What the child adds to its parent, by layer; one that only one of them adapts counts as zero in the other."""
    before = {name: layer.scaled(-1.0) for name, layer in factors(parent).items()}
    return _sum(factors(child), before)


def inner(one: Layers, other: Layers) -> float:
    """Frobenius inner product over all layers."""
    return sum(one[name].inner(other[name]) for name in one.keys() & other.keys())


def norm(layers: Layers) -> float:
    """Frobenius norm over all layers."""
    return math.sqrt(max(inner(layers, layers), 0.0))


def delta_distance(candidate: Layers, accepted: Layers) -> Distance:
    """A candidate's `change` beside one that was accepted before."""
    size, other = norm(candidate), norm(accepted)
    cosine = inner(candidate, accepted) / (size * other) if size and other else 0.0
    return Distance(size, max(-1.0, min(1.0, cosine)))


def interpolate(old: Files, new: Files, alpha: float, rank: int | None = None) -> Interpolated:
    """(1 - alpha) * old + alpha * new, on the LoRA products and the head; `old` and `new` at the ends, byte by byte.

    Exact by rank concatenation, then the best approximation of the given rank (the new version's by default; Eckart
    and Young 1936) by a singular value decomposition of every layer. Source: weight-space ensembles of Wortsman et
    al., "Robust fine-tuning of zero-shot models", CVPR 2022 (arXiv 2109.01903), equation 1, on products because a
    mean of the factors is no mean of the weights.

    Raises:
        ValueError: alpha is outside [0, 1].
        MalformedAdapter: a file cannot be read.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha is {alpha}, not in [0, 1]")
    if alpha in {0.0, 1.0}:
        chosen = new if alpha else old
        return Interpolated({name: chosen[name] for name in (WEIGHTS, CONFIG, HEAD)}, 0.0, 0.0)
    config = json.loads(new[CONFIG])
    width = rank or int(config["r"])
    parts = [{n: f.scaled(w) for n, f in factors(v).items()} for v, w in ((old, 1 - alpha), (new, alpha))]
    cut = {name: truncate(layer, width) for name, layer in _sum(*parts).items()}
    scaling = lora_scaling(new[CONFIG])
    config |= {"r": width, "lora_alpha": scaling * width, "use_rslora": False, "target_modules": sorted(cut)}
    lost = math.hypot(*(missing for _, missing, _ in cut.values()))
    whole = math.hypot(*(size for _, _, size in cut.values()))
    base = trained_on(new[WEIGHTS])
    files = {
        WEIGHTS: save(
            _tensors({name: each[0] for name, each in cut.items()}, scaling),
            metadata=None if base is None else {TRAINED_ON: base},
        ),
        CONFIG: json.dumps(config, indent=1, sort_keys=True).encode(),
        HEAD: save(_mixed_head(old, new, alpha)),
    }
    worst = max((part / size for _, part, size in cut.values() if size), default=0.0)
    return Interpolated(files, lost / whole if whole else 0.0, worst)


def truncate(layer: LowRank, rank: int) -> tuple[LowRank, float, float]:
    """The nearest matrix of at most this rank (factors of rank `rank`, padded with zeros), the Frobenius norm of what
    it lacks, and the norm of the whole. The factors share the singular values evenly."""
    left, r_left = torch.linalg.qr(layer.up)
    right, r_right = torch.linalg.qr(layer.down.T)
    u, s, v = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
    root = s[:rank].sqrt()
    up, down = (left @ u[:, :rank]) * root, (root[:, None] * v[:rank]) @ right.T
    missing = rank - len(root)
    if missing > 0:
        up = torch.nn.functional.pad(up, (0, missing))
        down = torch.nn.functional.pad(down, (0, 0, 0, missing))
    return LowRank(up, down), float(s[rank:].norm()), float(s.norm())


def _sum(one: Layers, other: Layers) -> dict[str, LowRank]:
    both = {name: one[name] + other[name] for name in one if name in other}
    return {**other, **one, **both}


def _tensors(layers: Layers, scaling: float) -> dict[str, Tensor]:
    """A peft state dict, fp32, of which peft makes the layers by multiplying with the scaling."""
    share = math.sqrt(scaling)
    down = {f"{PREFIX}{name}.lora_A.weight": layer.down / share for name, layer in layers.items()}
    up = {f"{PREFIX}{name}.lora_B.weight": layer.up / share for name, layer in layers.items()}
    return {name: tensor.float().contiguous() for name, tensor in (down | up).items()}


def _mixed_head(old: Files, new: Files, alpha: float) -> dict[str, Tensor]:
    before, after = (read_tensors(version[HEAD], HEAD) for version in (old, new))
    return {name: torch.lerp(before[name].float(), after[name].float(), alpha) for name in sorted(after)}
