"""A model bundle: base and adapter merged into an immutable model that answers requests.

The merge starts from the pristine base every time, in fp32, on a copy that shares every tensor which LoRA does not
touch. A live bundle is never written to: another version is another bundle.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from trimtab.adapter import CONFIG, HEAD, REFERENCES, REMEDY, WEIGHTS, AdapterManifest, Golden
from trimtab.base import BaseModel, mean_pool
from trimtab.errors import BaseMismatch, MalformedAdapter, SelfTestFailed
from trimtab.features import FeatureMap, Floats, Outputs, References, log_softmax

MICRO_BATCH = 16
GOLDEN_TOLERANCE = 1e-4
_PREFIX = "base_model.model."
# Fixed sentences, so that no text of a user is kept in a manifest.
GOLDEN_TEXTS = (
    "The plot moves quickly and the acting is a joy to watch.",
    "It broke after two days and nobody answered my mail.",
    "the meeting was moved to thursday",
    "I would not recommend this to anyone, ever!!",
    "Prices rose by 3.5 % in March, the ministry said.",
    "so happy right now :)",
    "Nothing special, but it does what it should.",
    "ok",
)


@dataclass(frozen=True)
class Remedy:
    """What is applied to logits without touching weights: softmax(logits / temperature + log_prior)."""

    temperature: float = 1.0
    # (k,) or None for no correction.
    log_prior: tuple[float, ...] | None = None

    def to_bytes(self) -> bytes:
        return json.dumps(
            {"temperature": self.temperature, "log_prior": self.log_prior}, sort_keys=True
        ).encode()

    @staticmethod
    def from_bytes(content: bytes) -> Remedy:
        """Reads `to_bytes`. Raises MalformedAdapter."""
        try:
            raw = json.loads(content)
            prior = raw["log_prior"]
            remedy = Remedy(
                float(raw["temperature"]), None if prior is None else tuple(float(p) for p in prior)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedAdapter(f"remedy.json cannot be read: {error}") from None
        if not remedy.temperature > 0:
            raise MalformedAdapter("remedy.json: temperature must be positive")
        return remedy


@dataclass(frozen=True)
class ModelBundle:
    """One served version. Immutable; safe to call from one thread at a time."""

    model: str
    version: int
    digest: str
    labels: tuple[str, ...]
    base: BaseModel
    encoder: nn.Module
    head_weight: Tensor
    head_bias: Tensor
    remedy: Remedy
    feature_map: FeatureMap
    max_tokens: int = 128

    def predict(self, texts: Sequence[str]) -> Outputs:
        """One forward pass for n texts, in length-sorted micro-batches; the order of the texts is kept."""
        ids = self.base.encode(texts, self.max_tokens)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        pooled = np.empty((len(ids), self.base.hidden_size), dtype=np.float32)
        logits = np.empty((len(ids), len(self.labels)), dtype=np.float32)
        counts = np.empty((len(ids), 2), dtype=np.int64)
        for start in range(0, len(order), MICRO_BATCH):
            chosen = order[start : start + MICRO_BATCH]
            pooled[chosen], logits[chosen], counts[chosen] = self._forward([ids[i] for i in chosen])
        return Outputs(pooled, logits, counts[:, 0], counts[:, 1])

    def probabilities(self, logits: Floats) -> Floats:
        """(n, k) probabilities of (n, k) logits after the remedy."""
        prior = 0.0 if self.remedy.log_prior is None else np.asarray(self.remedy.log_prior, dtype=np.float32)
        return np.exp(log_softmax(np.asarray(logits / self.remedy.temperature + prior, dtype=np.float32)))

    def _forward(self, ids: Sequence[Sequence[int]]) -> tuple[Floats, Floats, Any]:
        tokens = self.base.pad(ids)
        with torch.inference_mode():
            hidden = self.encoder(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
            pooled = mean_pool(hidden, tokens.mask)
            logits = nn.functional.linear(pooled, self.head_weight, self.head_bias)
        counts = np.column_stack([tokens.lengths, tokens.n_unknown])
        return pooled.float().cpu().numpy(), logits.float().cpu().numpy(), counts


def build_bundle(
    base: BaseModel,
    files: Mapping[str, bytes],
    *,
    manifest: AdapterManifest,
    digest: str,
    max_tokens: int = 128,
) -> ModelBundle:
    """Merges a verified version onto a copy of the base.

    Raises:
        BaseMismatch: the version belongs to another base or tokenizer.
        MalformedAdapter: tensors are missing, have the wrong shape or are not finite.
    """
    check_base(base, manifest)
    head = read_tensors(files[HEAD], HEAD)
    weight, bias = _head_of(head, len(manifest.labels), base.hidden_size)
    encoder = merge(base.encoder, read_tensors(files[WEIGHTS], WEIGHTS), _scaling(files[CONFIG]))
    return ModelBundle(
        model=manifest.model,
        version=manifest.version,
        digest=digest,
        labels=manifest.labels,
        base=base,
        encoder=encoder,
        head_weight=weight.to(base.device),
        head_bias=bias.to(base.device),
        remedy=Remedy.from_bytes(files[REMEDY]),
        feature_map=References.from_bytes(files[REFERENCES]).feature_map,
        max_tokens=min(max_tokens, base.max_positions),
    )


def check_base(base: BaseModel, manifest: AdapterManifest) -> None:
    """Raises BaseMismatch unless weights and tokenizer are those that the version was trained on."""
    for what, have, want in (
        ("weights", base.digest, manifest.base.digest),
        ("tokenizer", base.tokenizer_digest, manifest.base.tokenizer_digest),
    ):
        if have != want:
            raise BaseMismatch(
                f"{what} of the base have digest {have[:16]}, the version was trained on {want[:16]}"
            )


def merge(encoder: nn.Module, lora: Mapping[str, Tensor], scaling: float) -> nn.Module:
    """A copy of the encoder with W + scaling * B @ A (fp32) at every LoRA target; all other tensors are shared.

    encoder is not changed. Raises MalformedAdapter when a tensor has no counterpart or does not fit.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in encoder.parameters()}
    shared |= {id(tensor): tensor for tensor in encoder.buffers()}
    merged = copy.deepcopy(encoder, shared)
    modules = dict(merged.named_modules())
    for name, down, up in _pairs(lora):
        module = modules.get(name)
        if not isinstance(module, nn.Linear) or module.weight.shape != (up.shape[0], down.shape[1]):
            raise MalformedAdapter(f"{WEIGHTS}: {name} does not fit the base model")
        delta = scaling * (up.float() @ down.float())
        weight = module.weight.detach() + delta.to(module.weight.device)
        module.weight = nn.Parameter(weight, requires_grad=False)
    return merged.eval()


def _pairs(lora: Mapping[str, Tensor]) -> list[tuple[str, Tensor, Tensor]]:
    """(module name, A (r, in), B (out, r)) of every target in a peft state dict."""
    suffix_a, suffix_b = ".lora_A.weight", ".lora_B.weight"
    names = [key.removeprefix(_PREFIX).removesuffix(suffix_a) for key in lora if key.endswith(suffix_a)]
    expected = {f"{_PREFIX}{name}{suffix}" for name in names for suffix in (suffix_a, suffix_b)}
    if expected != set(lora):
        raise MalformedAdapter(f"{WEIGHTS}: unexpected tensors {sorted(expected ^ set(lora))[:3]}")
    pairs = [(n, lora[f"{_PREFIX}{n}{suffix_a}"], lora[f"{_PREFIX}{n}{suffix_b}"]) for n in names]
    if any(a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] for _, a, b in pairs):
        raise MalformedAdapter(f"{WEIGHTS}: the ranks of A and B differ")
    return pairs


def _scaling(config: bytes) -> float:
    """lora_alpha / r (or / sqrt(r) for rsLoRA); refuses variants that a plain merge would get wrong."""
    try:
        raw = json.loads(config)
        rank, alpha = int(raw["r"]), float(raw["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedAdapter(f"{CONFIG} cannot be read: {error}") from None
    refused = [
        k
        for k in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")
        if raw.get(k)
    ]
    if refused or raw.get("peft_type") != "LORA" or not 0 < rank <= 64:
        raise MalformedAdapter(
            f"{CONFIG}: only plain LoRA with 0 < r <= 64 is served (not {refused or raw.get('peft_type')})"
        )
    return alpha / math.sqrt(rank) if raw.get("use_rslora") else alpha / rank


def _head_of(head: Mapping[str, Tensor], n_labels: int, hidden_size: int) -> tuple[Tensor, Tensor]:
    if set(head) != {"weight", "bias"}:
        raise MalformedAdapter(f"{HEAD}: must hold weight and bias, has {sorted(head)}")
    if head["weight"].shape != (n_labels, hidden_size) or head["bias"].shape != (n_labels,):
        raise MalformedAdapter(f"{HEAD}: shapes do not fit {n_labels} labels and hidden size {hidden_size}")
    return head["weight"].float(), head["bias"].float()


def read_tensors(content: bytes, name: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file. Raises MalformedAdapter when it cannot be read or a value is not finite."""
    try:
        tensors: dict[str, Tensor] = load_tensors(content)
    except SafetensorError as error:
        raise MalformedAdapter(f"{name} cannot be read: {error}") from None
    broken = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise MalformedAdapter(f"{name}: {broken[0]} has values that are not finite")
    return tensors


def golden_of(bundle: ModelBundle) -> Golden:
    """The golden outputs that a manifest records: what this bundle answers to GOLDEN_TEXTS."""
    logits = bundle.predict(GOLDEN_TEXTS).logits
    return Golden(texts=GOLDEN_TEXTS, logits=tuple(tuple(float(v) for v in row) for row in logits))


def self_test(bundle: ModelBundle, golden: Golden) -> float:
    """The largest difference to the golden logits; raises SelfTestFailed when it is above 1e-4 or not finite."""
    logits = bundle.predict(golden.texts).logits
    difference = float(np.abs(logits - np.asarray(golden.logits, dtype=np.float32)).max())
    if not difference <= GOLDEN_TOLERANCE:
        raise SelfTestFailed(f"golden logits differ by {difference:.2e}, allowed are {GOLDEN_TOLERANCE:.0e}")
    return difference
