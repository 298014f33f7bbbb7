"""A model bundle: base and adapter merged into an immutable model that answers requests.

The merge starts from the pristine base every time, in fp32, on a copy that shares every tensor which LoRA does not
touch. A live bundle is never written to: another version is another bundle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from trimtab.adapter import CONFIG, HEAD, REFERENCES, REMEDY, WEIGHTS, AdapterManifest, Golden
from trimtab.base import BaseModel, Encoded
from trimtab.errors import BaseMismatch, MalformedAdapter, SelfTestFailed
from trimtab.features import FeatureMap, Floats, Outputs, References, log_softmax
from trimtab.kernels import Precision, Reducer, fuse_activations
from trimtab.packing import PADDED_TEXTS, own_bytes, packed_states, padded_states, share_tensors

# Tokens of one packed pass: matrix products gain nothing beyond (CPU), or fill the card (CUDA).
PACK_TOKENS = {"cpu": 1024, "cuda": 32768}
GOLDEN_TOLERANCE = 1e-4
PREFIX = "base_model.model."
TRAINED_ON = "base"  # name of the base's digest in the metadata of an adapter's weights
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
# For what golden texts are too few: every one of them alone and before every other, 64 texts of 1 to 30 words.
PROBE_TEXTS = tuple(a if a is b else f"{a} {b}" for a in GOLDEN_TEXTS for b in GOLDEN_TEXTS)


@dataclass(frozen=True)
class Remedy:
    """What is applied to logits without touching weights: softmax((logits + shift) / temperature + log_prior)."""

    temperature: float = 1.0
    # (k,) or None for no correction.
    log_prior: tuple[float, ...] | None = None
    # Domain -> (k,): centring. The head is linear, so moving a domain's mean state m_d to m is W (m - m_d) on logits.
    shifts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def apply(self, logits: Floats, domains: Sequence[str | None] = ()) -> Floats:
        """(n, k) log probabilities of (n, k) logits; domains: one a row, or none at all."""
        if self.shifts and domains:
            nothing = (0.0,) * logits.shape[1]
            logits = logits + np.array([self.shifts.get(domain or "", nothing) for domain in domains])
        prior = 0.0 if self.log_prior is None else np.asarray(self.log_prior)
        return log_softmax(np.asarray(logits / self.temperature + prior, dtype=np.float32))

    def to_bytes(self) -> bytes:
        return json.dumps(vars(self), sort_keys=True).encode()

    @staticmethod
    def from_bytes(content: bytes) -> Remedy:
        """Reads `to_bytes`. Raises MalformedAdapter."""
        try:
            raw = json.loads(content)
            prior = raw["log_prior"]
            remedy = Remedy(
                float(raw["temperature"]),
                None if prior is None else tuple(float(p) for p in prior),
                {str(name): tuple(float(v) for v in row) for name, row in raw.get("shifts", {}).items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise MalformedAdapter(f"{REMEDY} cannot be read: {error}") from None
        if not 0 < remedy.temperature < math.inf:
            raise MalformedAdapter(f"{REMEDY}: temperature must be positive")
        return remedy

    def check(self, n_labels: int) -> Remedy:
        """Itself; raises MalformedAdapter unless prior and shifts have one finite number a label."""
        rows = [*self.shifts.values(), *([] if self.log_prior is None else [self.log_prior])]
        if any(len(row) != n_labels or not all(map(math.isfinite, row)) for row in rows):
            raise MalformedAdapter(f"{REMEDY}: prior and shifts need {n_labels} finite numbers each")
        return self


@dataclass(frozen=True, eq=False)
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
    precision: Precision = "fp32"
    # Memory of the encoder's tensors that this version shares with no other.
    own_bytes: int = 0

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Texts as this version reads them; for any thread."""
        return self.base.read(texts, self.max_tokens)

    def predict(self, texts: Sequence[str]) -> Outputs:
        """Outputs of n texts, in their order."""
        return self.run(self.encode(texts))

    def run(self, encoded: Encoded) -> Outputs:
        """Outputs of n texts, in their order, in as few passes as memory and caches like."""
        ids = encoded.ids
        pooled = np.empty((len(ids), self.base.hidden_size), dtype=np.float32)
        logits = np.empty((len(ids), len(self.labels)), dtype=np.float32)
        with torch.inference_mode():
            for chosen in self._passes([len(row) for row in ids]):
                states = self._states([ids[i] for i in chosen])
                pooled[chosen] = states.cpu().numpy()
                logits[chosen] = nn.functional.linear(states, self.head_weight, self.head_bias).cpu().numpy()
        counts = self.base.count(ids)
        return Outputs(pooled, logits, counts[:, 0], counts[:, 1])

    def probabilities(self, logits: Floats, domains: Sequence[str | None] = ()) -> Floats:
        """(n, k) probabilities of (n, k) logits after the remedy; domains: one a row, or none at all."""
        return np.exp(self.remedy.apply(logits, domains))

    def _passes(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """The texts of each forward pass, by length: packed up to so many tokens, padded up to so many texts."""
        packed = self.base.runner.first_position is not None
        limit = PACK_TOKENS.get(self.base.device.type, 1024)
        chosen: list[int] = []
        n_tokens = 0
        for i in sorted(range(len(lengths)), key=lengths.__getitem__):
            full = n_tokens + lengths[i] > limit or not (packed or len(chosen) < PADDED_TEXTS)
            if chosen and full:
                yield chosen
                chosen, n_tokens = [], 0
            chosen.append(i)
            n_tokens += lengths[i]
        if chosen:
            yield chosen

    def _states(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """(n, h) fp32 pooled states of one pass."""
        first = self.base.runner.first_position
        if first is None:
            return padded_states(self.encoder, ids, self.base.pad_id, self.base.device)
        return packed_states(self.encoder, ids, first, self.base.device)


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
    if trained_on(files[WEIGHTS]) not in {None, manifest.base.digest}:
        raise BaseMismatch(f"{WEIGHTS} was trained on another base than the manifest names")
    head = read_tensors(files[HEAD], HEAD)
    weight, bias = _head_of(head, len(manifest.labels), base.hidden_size)
    encoder = merge(base.runner.encoder, read_tensors(files[WEIGHTS], WEIGHTS), lora_scaling(files[CONFIG]))
    if base.runner.fuses:
        fuse_activations(encoder)
    return ModelBundle(
        model=manifest.model,
        version=manifest.version,
        digest=digest,
        labels=manifest.labels,
        base=base,
        encoder=encoder,
        head_weight=weight.to(base.device),
        head_bias=bias.to(base.device),
        remedy=Remedy.from_bytes(files[REMEDY]).check(len(manifest.labels)),
        feature_map=References.from_bytes(files[REFERENCES]).feature_map,
        max_tokens=min(max_tokens, base.max_positions),
        own_bytes=own_bytes(encoder, _tensors(base.encoder)),
    )


def at_precision(bundle: ModelBundle, reducer: Reducer) -> ModelBundle:
    """The same version in the reducer's precision; the given bundle stays as it is."""
    encoder = reducer.reduce(share_tensors(bundle.encoder))
    size = own_bytes(encoder, reducer.shared)
    return replace(bundle, encoder=encoder, precision=reducer.precision, own_bytes=size)


def _tensors(encoder: nn.Module) -> list[Tensor]:
    return [*encoder.parameters(), *encoder.buffers()]


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
    merged = share_tensors(encoder)
    modules = dict(merged.named_modules())
    for name, down, up in lora_pairs(lora):
        module = modules.get(name)
        if not isinstance(module, nn.Linear) or module.weight.shape != (up.shape[0], down.shape[1]):
            raise MalformedAdapter(f"{WEIGHTS}: {name} does not fit the base model")
        device = module.weight.device
        delta = up.to(device, torch.float32) @ down.to(device, torch.float32)
        weight = torch.add(module.weight.detach(), delta, alpha=scaling)
        module.weight = nn.Parameter(weight, requires_grad=False)
    return merged.eval()


def lora_pairs(lora: Mapping[str, Tensor]) -> list[tuple[str, Tensor, Tensor]]:
    """(module name, A (r, in), B (out, r)) of every target in a peft state dict."""
    suffix_a, suffix_b = ".lora_A.weight", ".lora_B.weight"
    names = [key.removeprefix(PREFIX).removesuffix(suffix_a) for key in lora if key.endswith(suffix_a)]
    expected = {f"{PREFIX}{name}{suffix}" for name in names for suffix in (suffix_a, suffix_b)}
    if expected != set(lora):
        raise MalformedAdapter(f"{WEIGHTS}: unexpected tensors {sorted(expected ^ set(lora))[:3]}")
    pairs = [(n, lora[f"{PREFIX}{n}{suffix_a}"], lora[f"{PREFIX}{n}{suffix_b}"]) for n in names]
    if any(a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] for _, a, b in pairs):
        raise MalformedAdapter(f"{WEIGHTS}: the ranks of A and B differ")
    return pairs


def lora_scaling(config: bytes) -> float:
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


def trained_on(weights: bytes) -> str | None:
    """Digest of the base that an adapter's weights were trained on, as the file itself says; None: it does not say.

    Raises MalformedAdapter.
    """
    try:
        length = int.from_bytes(weights[:8], "little")
        said = json.loads(weights[8 : 8 + length]).get("__metadata__", {}).get(TRAINED_ON)
    except (AttributeError, UnicodeDecodeError, ValueError) as error:
        raise MalformedAdapter(f"{WEIGHTS} cannot be read: {error}") from None
    return None if said is None else str(said)


def golden_of(bundle: ModelBundle) -> Golden:
    """The golden outputs that a manifest records: what this bundle answers to GOLDEN_TEXTS."""
    logits = bundle.predict(GOLDEN_TEXTS).logits
    return Golden(texts=GOLDEN_TEXTS, logits=tuple(tuple(float(v) for v in row) for row in logits))


def probability_shift(bundle: ModelBundle, other: ModelBundle) -> float:
    """Mean over the probe texts of the probability (in [0, 1]) that moves from one label to another."""
    mine, theirs = (each.probabilities(each.predict(PROBE_TEXTS).logits) for each in (bundle, other))
    return float(np.abs(mine - theirs).sum(axis=1).mean() / 2)


def self_test(bundle: ModelBundle, golden: Golden) -> float:
    """The largest difference to the golden logits; raises SelfTestFailed when it is above 1e-4 or not finite."""
    logits = bundle.predict(golden.texts).logits
    difference = float(np.abs(logits - np.asarray(golden.logits, dtype=np.float32)).max())
    if not difference <= GOLDEN_TOLERANCE:
        raise SelfTestFailed(f"golden logits differ by {difference:.2e}, allowed are {GOLDEN_TOLERANCE:.0e}")
    return difference
