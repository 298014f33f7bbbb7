"""Real text, scored once: what version 1 of the demo's recipe says to every row of the four domains of S1.

Version 1 is trained on movie snippets by `workers.first` (about two minutes of CPU); then all rows of all domains are
scored (a few minutes). Both are cached below `.bench/`, so that every later run starts at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.features import FeatureMap, Floats, Integers, Outputs, fit_feature_map

MODEL = "sentiment"
SOURCE = "movie"
DOMAINS = (SOURCE, "tweets", "amazon", "nyt")
DERIVED = "script"  # fresh movie rows with some words in Cyrillic letters: derived, not real
DERIVED_ROWS = 3000
DERIVED_SHARE = 0.3  # of the words
LAYERS = ("last", "embedding")  # the pooled representations that are compared
CACHE = Path(".bench")
SCORED = "scored-2.npz"
HOME = "home-2"
SCORED_TOGETHER = 256
_CYRILLIC = str.maketrans("abcdefghijklmnopqrstuvwxyz", "абцдефгхийклмнопярстувшыжз")


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
        outputs = Outputs(given[layer], self.logits(given["last"]), self.n_tokens[index], self.n_unknown[index])
        return self.maps[layer].rows(outputs, [self.texts[i] for i in index])

    def logits(self, last: Floats) -> Floats:
        """(m, k) logits of (m, h) last pooled states."""
        return np.asarray(last @ self.weight.T + self.bias, dtype=np.float32)


def load_corpus(cache: Path = CACHE) -> Corpus:
    """The scored corpus; trains and scores first where the cache has none."""
    path = cache / SCORED
    if not path.exists():
        _build(cache, path)
    with np.load(path, allow_pickle=False) as file:
        stored: dict[str, Any] = dict(file)
    texts = json.loads(bytes(stored["texts"]).decode())
    labels = tuple(map(str, stored["labels"]))
    return Corpus(
        texts=tuple(texts),
        domains=stored["domains"],
        truth=stored["truth"],
        trained=stored["trained"],
        n_tokens=stored["n_tokens"],
        n_unknown=stored["n_unknown"],
        states={layer: stored[f"state.{layer}"] for layer in LAYERS},
        maps={
            layer: FeatureMap(stored[f"mean.{layer}"], stored[f"components.{layer}"], labels)
            for layer in LAYERS
        },
        weight=stored["weight"],
        bias=stored["bias"],
    )


def in_script(text: str) -> str:
    """The text with DERIVED_SHARE of its words in Cyrillic letters, chosen by the length of the text and the place."""
    words = text.split(" ")
    chosen = np.random.default_rng(len(text)).random(len(words)) < DERIVED_SHARE
    return " ".join(w.lower().translate(_CYRILLIC) if c else w for w, c in zip(words, chosen, strict=True))


def _build(cache: Path, path: Path) -> None:
    from service.demo.data import cache_dir, fetch_archive, load_domains

    rows = load_domains(fetch_archive(cache_dir()))
    bundle, trained = _version_one(cache, rows[SOURCE])
    every = [row for domain in DOMAINS for row in rows[domain]]
    order = np.random.default_rng(0).permutation(len(rows[SOURCE]))
    fresh = [rows[SOURCE][i] for i in order if rows[SOURCE][i].text not in trained][:DERIVED_ROWS]
    every += [replace(row, text=in_script(row.text), domain=DERIVED) for row in fresh]
    last, embedding, logits, counts = _score(bundle, [row.text for row in every])
    fitted = np.array([row.domain == SOURCE and row.text in trained for row in every])
    maps = {"last": bundle.feature_map, "embedding": fit_feature_map(embedding[fitted], bundle.labels)}
    arrays: dict[str, Any] = {
        "texts": np.frombuffer(json.dumps([row.text for row in every]).encode(), dtype=np.uint8),
        "labels": np.array(bundle.labels),
        "domains": np.array([row.domain for row in every]),
        "truth": np.array([bundle.labels.index(row.label) for row in every], dtype=np.int64),
        "trained": fitted,
        "n_tokens": counts[:, 0],
        "n_unknown": counts[:, 1],
        "weight": bundle.head_weight.cpu().numpy(),
        "bias": bundle.head_bias.cpu().numpy(),
    }
    arrays |= {"state.last": last, "state.embedding": embedding}
    arrays |= {f"mean.{layer}": each.mean for layer, each in maps.items()}
    arrays |= {f"components.{layer}": each.components for layer, each in maps.items()}
    np.savez(path.with_name("unfinished.npz"), **arrays)
    path.with_name("unfinished.npz").replace(path)


def _version_one(cache: Path, rows: Sequence[Any]) -> tuple[Any, set[str]]:
    """The bundle of version 1, and the texts that it and its feature map were fitted on."""
    from service.demo.model import packaged_model
    from trimtab.adapter import create_keys
    from trimtab.base import load_base
    from trimtab.errors import AlreadyExists
    from trimtab.settings import Settings
    from workers.first import create_first_version, split
    from workers.workshop import load_version, open_workshop

    settings = Settings(home=(cache / HOME).absolute(), device="cpu")
    if not settings.private_key_path.exists():
        create_keys(settings.private_key_path, settings.public_key_path)
    with open_workshop(settings) as shop:
        shop.ledger.migrate()
        base_name = str(packaged_model())
        try:
            create_first_version(shop, model=MODEL, base_name=base_name, rows=rows, report=_say)
        except AlreadyExists:
            print("version 1 is there", flush=True)
        bundle = load_version(shop, load_base(base_name, "cpu"), MODEL, 1).bundle
    kept = split(rows, MODEL, max_train=1500)
    return bundle, {each.row.text for each in kept["train"]}


def _score(bundle: Any, texts: Sequence[str]) -> tuple[Floats, Floats, Floats, Integers]:
    """(n, h) last pooled states, (n, h) pooled states of the embedding layer, (n, k) logits, (n, 2) token counts."""
    parts = []
    for start in range(0, len(texts), SCORED_TOGETHER):
        some = texts[start : start + SCORED_TOGETHER]
        found = bundle.predict(some)
        counts = np.column_stack([found.n_tokens, found.n_unknown])
        parts.append((found.pooled, _embedding_means(bundle, some), found.logits, counts))
        _say("scoring", start + len(some), len(texts))
    last, embedding, logits, counts = (np.concatenate(each) for each in zip(*parts, strict=True))
    return last, embedding, logits, counts


def _embedding_means(bundle: Any, texts: Sequence[str]) -> Floats:
    """(n, h): the mean over the tokens of what the embedding layer hands to the first block (no adapter in it)."""
    import torch

    from trimtab.packing import mean_pool

    tokens = bundle.base.pad(bundle.base.encode(texts, bundle.max_tokens))
    with torch.inference_mode():
        hidden = bundle.encoder.embeddings(input_ids=tokens.ids)
        return np.asarray(mean_pool(hidden, tokens.mask).float().cpu().numpy(), dtype=np.float32)


def _say(step: str, done: int, of: int) -> None:
    if of <= 1 or done == of or done % 1024 == 0 or (step == "training" and done % 20 == 0):
        print(f"  {step} {done}/{of}", flush=True)
