"""What is monitored of one prediction: a row of numbers that the serving pass yields anyway.

The API makes rows of live traffic, the worker makes the reference rows, the monitor compares them; the layout is
defined here only: projected pooled state, model outputs, text statistics. numpy only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from trimtab.errors import MalformedAdapter

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

# More classes than this would dominate the row; the likeliest ones carry the signal.
MAX_LABEL_FEATURES = 16
SCRIPTS: Mapping[str, tuple[tuple[int, int], ...]] = {  # first and last code point of the Unicode blocks
    "greek_cyrillic_share": ((0x0370, 0x052F),),
    "arabic_indic_share": ((0x0590, 0x0FFF),),  # Hebrew to Tibetan: the right-to-left and the South Asian scripts
    "east_asian_share": ((0x1100, 0x11FF), (0x2E80, 0xD7FF), (0xF900, 0xFAFF), (0xFF00, 0xFFEF), (0x20000, 0x3FFFF)),
    "symbol_share": ((0x2000, 0x2BFF), (0x1F000, 0x1FAFF)),  # punctuation beyond Latin, currency, arrows, emoji
}  # fmt: skip
VOCABULARY_FEATURES = ("unknown_share", "non_ascii_share", *SCRIPTS)
TEXT_FEATURES = ("n_tokens", "unknown_share", "non_ascii_share", "digit_share", *SCRIPTS)
_FIRST_TEXT_FEATURES = TEXT_FEATURES[:4]  # of the versions whose file does not name them
_DIGITS = "0123456789"
_BLOCKS = sorted(
    (*block, number) for number, blocks in enumerate(SCRIPTS.values(), start=1) for block in blocks
)
_BOUNDS = np.array([bound for first, last, _ in _BLOCKS for bound in (first, last + 1)], dtype=np.uint32)
# The script (from 1; 0: none) of a code point with i of `_BOUNDS` at or below it.
_SCRIPT_AT = np.array([0] + [script for *_, number in _BLOCKS for script in (number, 0)])


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
    """Turns outputs into rows. mean: (h,), components: (p, h) orthonormal rows, labels: the k class names.

    text_features names the text statistics of a row: a version keeps those that it was made with.
    """

    mean: Floats
    components: Floats
    labels: tuple[str, ...]
    text_features: tuple[str, ...] = TEXT_FEATURES

    @property
    def names(self) -> tuple[str, ...]:
        """The d column names of a row."""
        projected = tuple(f"pca_{i:02d}" for i in range(len(self.components)))
        log_probs = tuple(f"log_p_{label}" for label in self.labels[:MAX_LABEL_FEATURES])
        return projected + log_probs + ("max_prob", "entropy") + self.text_features

    def rows(self, outputs: Outputs, texts: Sequence[str]) -> Floats:
        """(n, d) float32 feature rows of n predictions."""
        projected = (outputs.pooled - self.mean) @ self.components.T
        log_probs = log_softmax(outputs.logits)
        probs = np.exp(log_probs)
        entropy = -(probs * log_probs).sum(axis=1)
        columns = [projected, log_probs[:, :MAX_LABEL_FEATURES], probs.max(axis=1)[:, None], entropy[:, None]]
        chosen = [TEXT_FEATURES.index(name) for name in self.text_features]
        return np.hstack([*columns, text_statistics(outputs, texts)[:, chosen]]).astype(np.float32)


def log_softmax(logits: Floats) -> Floats:
    """Row-wise log softmax of (n, k) logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float32)


def text_statistics(outputs: Outputs, texts: Sequence[str]) -> Floats:
    """(n, 8): tokens, share of unknown tokens; shares of characters beyond ASCII, of digits, of each script."""
    unknown = outputs.n_unknown / np.maximum(outputs.n_tokens, 1)
    characters = np.array([character_shares(text) for text in texts]).reshape(len(texts), 2 + len(SCRIPTS))
    return np.column_stack([outputs.n_tokens, unknown, characters]).astype(np.float32)


def character_shares(text: str) -> tuple[float, ...]:
    """Shares of the characters: beyond ASCII, digits of any script, then each of `SCRIPTS`; zeros for no text."""
    length = max(len(text), 1)
    if text.isascii():
        return (0.0, sum(map(text.count, _DIGITS)) / length, *(0.0 for _ in SCRIPTS))
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    n_beyond = int((codes > 0x7F).sum())
    n_digits = sum(map(str.isdigit, text))
    of_scripts = np.bincount(
        _SCRIPT_AT[np.searchsorted(_BOUNDS, codes, side="right")], minlength=len(SCRIPTS) + 1
    )
    return tuple(n / length for n in (n_beyond, n_digits, *of_scripts[1:].tolist()))


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
    """The drift references of one version, by accepted domain; it was trained on none of their rows.

    What is left out, and what an older file does not hold, counts as not known.

    Attributes:
        rows: (n, d) feature rows.
        truth: (n,) index of the true label, -1 where it is not known.
        predicted: (n,) index of the label that the version answers, remedy included; -1 where it is not known.
        keys: n keys (`splits.key_of`) of the texts; "" where they are not known.
        ordered: Domains whose rows stand in the order of time. Rows that were trained on are missing between them,
            so neighbours here were at least as far apart in the traffic.
        anchors: Domains of the first version: what slow drift is measured against.

    Raises:
        ValueError: the lengths of a domain's members differ.
    """

    feature_map: FeatureMap
    rows: Mapping[str, Floats]
    truth: Mapping[str, Integers] = field(default_factory=dict)
    predicted: Mapping[str, Integers] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ordered: frozenset[str] = frozenset()
    anchors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sizes = {domain: len(rows) for domain, rows in self.rows.items()}
        unknown = {domain: np.full(n, -1, dtype=np.int64) for domain, n in sizes.items()}
        object.__setattr__(self, "truth", {**unknown, **self.truth})
        object.__setattr__(self, "predicted", {**unknown, **self.predicted})
        object.__setattr__(self, "keys", {**{domain: ("",) * n for domain, n in sizes.items()}, **self.keys})
        for known in (self.truth, self.predicted, self.keys):
            if {domain: len(each) for domain, each in known.items()} != sizes:
                raise ValueError(
                    "every row of a reference has one true label, one predicted label and one key"
                )

    def to_bytes(self) -> bytes:
        """A safetensors file; names, keys and labels are in its metadata."""
        domains = sorted(self.rows)
        tensors = {"mean": self.feature_map.mean, "components": self.feature_map.components}
        for i, domain in enumerate(domains):
            tensors[f"rows.{i}"] = np.ascontiguousarray(self.rows[domain])
            tensors[f"truth.{i}"] = self.truth[domain].astype(np.int32)
            tensors[f"predicted.{i}"] = self.predicted[domain].astype(np.int32)
        about = {
            "domains": domains,
            "labels": self.feature_map.labels,
            "text_features": self.feature_map.text_features,
            "keys": [self.keys[domain] for domain in domains],
            "ordered": sorted(self.ordered),
            "anchors": self.anchors,
        }
        metadata = {name: json.dumps(value) for name, value in about.items()}
        return save_tensors(tensors, metadata={"trimtab": json.dumps(metadata, sort_keys=True)})

    @staticmethod
    def from_bytes(content: bytes) -> References:
        """Reads `to_bytes`. Raises MalformedAdapter when the file is not one of ours."""
        try:
            metadata = json.loads(_header(content)["__metadata__"]["trimtab"])
            about = {name: json.loads(value) for name, value in metadata.items()}
            return _references(about, load_tensors(content))
        except (KeyError, ValueError, TypeError) as error:
            raise MalformedAdapter(f"references.safetensors cannot be read: {error}") from None


def _references(about: Mapping[str, Any], tensors: Mapping[str, Any]) -> References:
    def by_domain(name: str) -> dict[str, Any]:
        found = {domain: tensors.get(f"{name}.{i}") for i, domain in enumerate(about["domains"])}
        return {domain: array.astype(np.int64) for domain, array in found.items() if array is not None}

    text_features = tuple(about.get("text_features", _FIRST_TEXT_FEATURES))
    unreadable = set(text_features) - set(TEXT_FEATURES)
    if unreadable:
        raise ValueError(f"text features that this release does not compute: {', '.join(sorted(unreadable))}")
    return References(
        FeatureMap(tensors["mean"], tensors["components"], tuple(about["labels"]), text_features),
        rows={domain: tensors[f"rows.{i}"] for i, domain in enumerate(about["domains"])},
        truth=by_domain("truth"),
        predicted=by_domain("predicted"),
        keys={
            domain: tuple(keys) for domain, keys in zip(about["domains"], about.get("keys", ()), strict=False)
        },
        ordered=frozenset(about.get("ordered", ())),
        anchors=tuple(about.get("anchors", ())),
    )


def _header(content: bytes) -> dict[str, dict[str, str]]:
    """The JSON header of a safetensors file: 8 bytes little-endian length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, dict[str, str]] = json.loads(content[8 : 8 + length])
    return header
