"""Real text, scored once: what version 1 of the demo's recipe says to every row of the four domains of S1.

Training takes about two minutes of CPU and scoring a few (`benchmarks.drift.scoring`); the result is cached below
`.bench/`, so that every later run starts at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.features import FeatureMap, Floats, Integers, Outputs

SOURCE = "movie"
DOMAINS = (SOURCE, "tweets", "amazon", "nyt")
DERIVED = "script"  # fresh movie rows with some words in Cyrillic letters: derived, not real
LAYERS = ("last", "embedding")  # the pooled representations that are compared
CACHE = Path(".bench")
SCORED = "scored-2.npz"
PLAIN = ("domains", "truth", "trained", "n_tokens", "n_unknown", "weight", "bias")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Every row of every domain with the answers of version 1.

    Attributes:
        texts, domains: (n,) the text and its domain.
        truth: (n,) index of the true label.
        trained: (n,) whether version 1 was fitted on the row.
        n_tokens, n_unknown: (n,) counts without special tokens.
        states: by layer the (n, h) mean-pooled state: the last hidden one, or the output of the embedding layer.
        maps: by layer the feature map. That of "last" is the version's own.
        weight, bias: (k, h) and (k,) of the head.
    """

    texts: tuple[str, ...]
    domains: npt.NDArray[np.str_]
    truth: Integers
    trained: npt.NDArray[np.bool_]
    n_tokens: Integers
    n_unknown: Integers
    states: dict[str, Floats]
    maps: dict[str, FeatureMap]
    weight: Floats
    bias: Floats

    def fresh(self, domain: str) -> Integers:
        """Indices of the rows of a domain that version 1 never saw."""
        return np.flatnonzero((self.domains == domain) & ~self.trained)

    def rows(self, index: Integers, layer: str = "last", states: dict[str, Floats] | None = None) -> Floats:
        """(m, d) feature rows; `states` (m, h) by layer replaces the recorded ones, and so changes the outputs."""
        given = {name: each[index] for name, each in self.states.items()} if states is None else states
        outputs = Outputs(
            given[layer], self.logits(given["last"]), self.n_tokens[index], self.n_unknown[index]
        )
        return self.maps[layer].rows(outputs, [self.texts[i] for i in index])

    def logits(self, last: Floats) -> Floats:
        """(m, k) logits of (m, h) last pooled states."""
        return np.asarray(last @ self.weight.T + self.bias, dtype=np.float32)

    def predicted(self, last: Floats) -> Integers:
        """(m,) index of the answer for (m, h) last pooled states."""
        return np.asarray(self.logits(last).argmax(axis=1), dtype=np.int64)


def load_corpus(cache: Path = CACHE) -> Corpus:
    """The scored corpus; trains and scores first where the cache has none."""
    path = cache / SCORED
    if not path.exists():
        from benchmarks.drift.scoring import score_corpus

        save_corpus(score_corpus(cache), path)
    with np.load(path, allow_pickle=False) as file:
        stored: dict[str, Any] = dict(file)
    labels = tuple(map(str, stored["labels"]))
    return Corpus(
        texts=tuple(json.loads(bytes(stored["texts"]).decode())),
        states={layer: stored[f"state.{layer}"] for layer in LAYERS},
        maps={
            layer: FeatureMap(stored[f"mean.{layer}"], stored[f"components.{layer}"], labels)
            for layer in LAYERS
        },
        **{name: stored[name] for name in PLAIN},
    )


def save_corpus(corpus: Corpus, path: Path) -> None:
    """Writes what `load_corpus` reads; whole or not at all."""
    arrays: dict[str, Any] = {
        "texts": np.frombuffer(json.dumps(corpus.texts).encode(), dtype=np.uint8),
        "labels": np.array(corpus.maps["last"].labels),
    }
    arrays |= {name: getattr(corpus, name) for name in PLAIN}
    for layer in LAYERS:
        arrays[f"state.{layer}"] = corpus.states[layer]
        arrays[f"mean.{layer}"] = corpus.maps[layer].mean
        arrays[f"components.{layer}"] = corpus.maps[layer].components
    np.savez(path.with_name("unfinished.npz"), **arrays)
    path.with_name("unfinished.npz").replace(path)
