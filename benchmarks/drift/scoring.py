"""Version 1 of the demo's model, trained by `workers.first`, and its answers to every row of S1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drift.corpus import DERIVED, DOMAINS, SOURCE, Corpus
from trimtab.datafiles import Row
from trimtab.features import Floats, Integers, fit_feature_map

MODEL = "sentiment"
HOME = "home-2"
MAX_TRAIN = 1500
SCORED_TOGETHER = 256
DERIVED_ROWS = 3000
DERIVED_SHARE = 0.3  # of the words
_CYRILLIC = str.maketrans("abcdefghijklmnopqrstuvwxyz", "абцдефгхийклмнопярстувшыжз")


def score_corpus(cache: Path) -> Corpus:
    """Trains version 1 in a home of its own below `cache`, unless it is there, and scores every row."""
    from service.demo.data import cache_dir, fetch_archive, load_domains

    rows = load_domains(fetch_archive(cache_dir()))
    bundle, trained = _version_one(cache, rows[SOURCE])
    every = [row for domain in DOMAINS for row in rows[domain]]
    every += _derived([row for row in rows[SOURCE] if row.text not in trained])
    last, embedding, counts = score(bundle, [row.text for row in every])
    fitted = np.array([row.domain == SOURCE and row.text in trained for row in every])
    return Corpus(
        texts=tuple(row.text for row in every),
        domains=np.array([row.domain for row in every]),
        truth=np.array([bundle.labels.index(row.label) for row in every], dtype=np.int64),
        trained=fitted,
        n_tokens=counts[:, 0],
        n_unknown=counts[:, 1],
        states={"last": last, "embedding": embedding},
        maps={"last": bundle.feature_map, "embedding": fit_feature_map(embedding[fitted], bundle.labels)},
        weight=bundle.head_weight.cpu().numpy(),
        bias=bundle.head_bias.cpu().numpy(),
    )


def in_script(text: str) -> str:
    """The text with DERIVED_SHARE of its words in Cyrillic letters, chosen by the length of the text and the place."""
    words = text.split(" ")
    chosen = np.random.default_rng(len(text)).random(len(words)) < DERIVED_SHARE
    return " ".join(w.lower().translate(_CYRILLIC) if c else w for w, c in zip(words, chosen, strict=True))


def _derived(fresh: Sequence[Row]) -> list[Row]:
    order = np.random.default_rng(0).permutation(len(fresh))[:DERIVED_ROWS]
    return [replace(fresh[i], text=in_script(fresh[i].text), domain=DERIVED) for i in order]


def _version_one(cache: Path, rows: Sequence[Row]) -> tuple[Any, set[str]]:
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
            create_first_version(
                shop, model=MODEL, base_name=base_name, rows=rows, max_train=MAX_TRAIN, report=_say
            )
        except AlreadyExists:
            print("version 1 is there", flush=True)
        bundle = load_version(shop, load_base(base_name, "cpu"), MODEL, 1).bundle
    kept = split(rows, MODEL, max_train=MAX_TRAIN)
    return bundle, {each.row.text for each in kept["train"]}


def score(bundle: Any, texts: Sequence[str]) -> tuple[Floats, Floats, Integers]:
    """(n, h) last pooled states, (n, h) pooled states of the embedding layer, (n, 2) token counts."""
    parts = []
    for start in range(0, len(texts), SCORED_TOGETHER):
        some = texts[start : start + SCORED_TOGETHER]
        found = bundle.predict(some)
        counts = np.column_stack([found.n_tokens, found.n_unknown])
        parts.append((found.pooled, _embedding_means(bundle, some), counts))
        _say("scoring", start + len(some), len(texts))
    last, embedding, counts = (np.concatenate(each) for each in zip(*parts, strict=True))
    return last, embedding, counts


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
