"""The scored corpus: what is kept, and rows that follow from states."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.drift.corpus import DERIVED, SOURCE, load_corpus
from tests.fixtures.corpora import N_TRAINED, SIZES, normal_corpus


def test_a_corpus_comes_back_as_it_was(cached: Path) -> None:
    saved, loaded = normal_corpus(), load_corpus(cached)
    assert loaded.texts == saved.texts
    assert loaded.maps["last"].labels == saved.maps["last"].labels
    for name in ("domains", "truth", "trained", "n_tokens", "n_unknown", "weight", "bias"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))
    for layer, states in saved.states.items():
        np.testing.assert_array_equal(loaded.states[layer], states)
        np.testing.assert_array_equal(loaded.maps[layer].components, saved.maps[layer].components)


def test_fresh_rows_were_not_trained_on() -> None:
    corpus = normal_corpus()
    assert len(corpus.fresh(SOURCE)) == SIZES[SOURCE] - N_TRAINED
    assert not corpus.trained[corpus.fresh(SOURCE)].any()
    assert set(corpus.domains[corpus.fresh(DERIVED)]) == {DERIVED}


def test_rows_are_those_of_the_feature_map() -> None:
    corpus, index = normal_corpus(), np.array([5, 3, 10_000])
    names = corpus.maps["last"].names
    rows = corpus.rows(index)
    assert rows.shape == (3, len(names))
    logits = corpus.states["last"][index] @ corpus.weight.T + corpus.bias
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rows[:, names.index("max_prob")], probs.max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(rows[:, names.index("n_tokens")], 3)


def test_other_states_change_projection_and_outputs() -> None:
    corpus, index = normal_corpus(), np.arange(50)
    moved = {layer: states[index] + 1 for layer, states in corpus.states.items()}
    before, after = corpus.rows(index), corpus.rows(index, "last", moved)
    names = corpus.maps["last"].names
    for name in ("pca_00", "max_prob", "log_p_positive"):
        assert not np.allclose(before[:, names.index(name)], after[:, names.index(name)])
    np.testing.assert_array_equal(before[:, names.index("n_tokens")], after[:, names.index("n_tokens")])


def test_the_layers_share_outputs_but_not_projections() -> None:
    corpus, index = normal_corpus(), np.arange(50)
    last, embedding = corpus.rows(index, "last"), corpus.rows(index, "embedding")
    outputs = [i for i, name in enumerate(corpus.maps["last"].names) if not name.startswith("pca")]
    np.testing.assert_array_equal(last[:, outputs], embedding[:, outputs])


def test_answers_are_the_likeliest_labels() -> None:
    corpus = normal_corpus()
    predicted = corpus.predicted(corpus.states["last"])
    accuracy = (predicted == corpus.truth).mean()
    # Classes lie two standard deviations from the border: Phi(2) = 0.977, and 21,000 rows.
    assert abs(accuracy - 0.9772) < 4 * np.sqrt(0.977 * 0.023 / len(predicted))
