"""What is monitored of one prediction: a row of numbers that the serving pass yields anyway.

The API makes rows of live traffic, the worker makes the reference rows, the monitor compares them; the layout is
defined here only: projected pooled state, model outputs, text statistics. numpy only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from trimtab.errors import MalformedAdapter

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

# More classes than this would dominate the row; the likeliest ones carry the signal.
MAX_LABEL_FEATURES = 16
TEXT_FEATURES = ("n_tokens", "unknown_share", "non_ascii_share", "digit_share")


@dataclass(frozen=True)
class Outputs:
    """What one forward pass yields for n texts.

    pooled: (n, h) mean-pooled last hidden state. logits: (n, k) before any remedy.
    n_tokens, n_unknown: (n,) counts without the special tokens.
    """

    pooled: Floats
    logits: Floats
    n_tokens: Integers
    n_unknown: Integers


@dataclass(frozen=True)
class FeatureMap:
    """Turns outputs into rows. mean: (h,), components: (p, h) orthonormal rows, labels: the k class names."""

    mean: Floats
    components: Floats
    labels: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The d column names of a row."""
        projected = tuple(f"pca_{i:02d}" for i in range(len(self.components)))
        log_probs = tuple(f"log_p_{label}" for label in self.labels[:MAX_LABEL_FEATURES])
        return projected + log_probs + ("max_prob", "entropy") + TEXT_FEATURES

    def rows(self, outputs: Outputs, texts: Sequence[str]) -> Floats:
        """(n, d) float32 feature rows of n predictions."""
        projected = (outputs.pooled - self.mean) @ self.components.T
        log_probs = log_softmax(outputs.logits)
        probs = np.exp(log_probs)
        entropy = -(probs * log_probs).sum(axis=1)
        columns = [projected, log_probs[:, :MAX_LABEL_FEATURES], probs.max(axis=1)[:, None], entropy[:, None]]
        return np.hstack([*columns, text_statistics(outputs, texts)]).astype(np.float32)


def log_softmax(logits: Floats) -> Floats:
    """Row-wise log softmax of (n, k) logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float32)


def text_statistics(outputs: Outputs, texts: Sequence[str]) -> Floats:
    """(n, 4): tokens, share of unknown tokens, share of characters beyond ASCII, share of digits."""
    n_tokens = np.maximum(outputs.n_tokens, 1)
    characters = [(max(len(text), 1), text) for text in texts]
    non_ascii = [sum(ord(c) > 127 for c in text) / length for length, text in characters]
    digits = [sum(c.isdigit() for c in text) / length for length, text in characters]
    return np.column_stack([outputs.n_tokens, outputs.n_unknown / n_tokens, non_ascii, digits]).astype(
        np.float32
    )


def fit_feature_map(pooled: Floats, labels: Sequence[str], n_components: int = 32) -> FeatureMap:
    """At most min(n - 1, h) principal components of (n, h) pooled states; signs make the largest entry positive."""
    mean = pooled.mean(axis=0)
    _, _, directions = np.linalg.svd((pooled - mean).astype(np.float64), full_matrices=False)
    components = directions[: min(n_components, len(pooled) - 1)]
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return FeatureMap(
        mean.astype(np.float32), (components * signs[:, None]).astype(np.float32), tuple(labels)
    )


@dataclass(frozen=True)
class References:
    """The drift references of one version: rows (n, d) per accepted domain; it was trained on none of them."""

    feature_map: FeatureMap
    rows: Mapping[str, Floats]

    def to_bytes(self) -> bytes:
        """A safetensors file; domain names and labels are in its metadata."""
        domains = sorted(self.rows)
        tensors = {"mean": self.feature_map.mean, "components": self.feature_map.components}
        tensors |= {f"rows.{i}": np.ascontiguousarray(self.rows[domain]) for i, domain in enumerate(domains)}
        metadata = {"domains": json.dumps(domains), "labels": json.dumps(self.feature_map.labels)}
        return save_tensors(tensors, metadata={"trimtab": json.dumps(metadata, sort_keys=True)})

    @staticmethod
    def from_bytes(content: bytes) -> References:
        """Reads `to_bytes`. Raises MalformedAdapter when the file is not one of ours."""
        try:
            metadata = json.loads(_header(content)["__metadata__"]["trimtab"])
            tensors = load_tensors(content)
            domains = json.loads(metadata["domains"])
            feature_map = FeatureMap(
                tensors["mean"], tensors["components"], tuple(json.loads(metadata["labels"]))
            )
            return References(feature_map, {domain: tensors[f"rows.{i}"] for i, domain in enumerate(domains)})
        except (KeyError, ValueError, TypeError) as error:
            raise MalformedAdapter(f"references.safetensors cannot be read: {error}") from None


def _header(content: bytes) -> dict[str, dict[str, str]]:
    """The JSON header of a safetensors file: 8 bytes little-endian length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, dict[str, str]] = json.loads(content[8 : 8 + length])
    return header
