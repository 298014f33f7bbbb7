"""Scoring: the embedding layer's state is what the first block gets, and words in another script stay words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel

from benchmarks.drift.scoring import DERIVED_SHARE, in_script, score
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, toy_shop
from trimtab.base import load_base
from workers.workshop import load_version

TEXT = "the quick brown fox jumps over the lazy dog again and again " * 20


def test_a_share_of_the_words_changes_script() -> None:
    words, changed = TEXT.split(" "), in_script(TEXT).split(" ")
    assert len(words) == len(changed)
    cyrillic = [not word.isascii() for word in changed]
    n = len(words)
    assert abs(sum(cyrillic) - DERIVED_SHARE * n) < 4 * np.sqrt(DERIVED_SHARE * (1 - DERIVED_SHARE) * n)
    assert all(before == after for before, after, c in zip(words, changed, cyrillic, strict=True) if not c)
    assert in_script(TEXT) == in_script(TEXT)


def test_states_of_the_last_layer_and_of_the_embedding_layer(tmp_path: Path, tiny_base_dir: Path) -> None:
    texts = [row.text for row in toy_rows("film", 40)]
    with toy_shop(tmp_path, tiny_base_dir) as toy:
        toy.create_first(epochs=1)
        bundle = load_version(toy.shop, load_base(str(tiny_base_dir), "cpu"), MODEL, 1).bundle
    last, embedding, counts = score(bundle, texts)
    outputs = bundle.predict(texts)
    np.testing.assert_allclose(last, outputs.pooled, atol=1e-6)
    np.testing.assert_array_equal(counts[:, 0], outputs.n_tokens)
    tokens = bundle.base.pad(bundle.base.encode(texts[:1], bundle.max_tokens))
    with torch.inference_mode():
        states = AutoModel.from_pretrained(tiny_base_dir)(input_ids=tokens.ids, output_hidden_states=True)
    np.testing.assert_allclose(embedding[0], states.hidden_states[0][0].mean(dim=0).numpy(), atol=1e-5)
