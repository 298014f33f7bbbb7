"""The labelled rows of a hypothesis: right rows, right weights, and what they say about the model."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.labelled import confidence_of, labelled_reference
from monitoring.mixture import Hypothesis
from trimtab.features import FeatureMap, References

FEATURE_MAP = FeatureMap(np.zeros(2, np.float32), np.eye(1, 2, dtype=np.float32), ("neg", "pos"))
D = len(FEATURE_MAP.names)


def hypothesis(*weights: float) -> Hypothesis:
    return Hypothesis("mixture", np.array(weights), np.zeros((D, 64)))


def references(n_film: int = 6, n_shop: int = 4) -> References:
    """Every third row of "film" is unlabelled; of "shop" the first row is answered wrongly."""
    rows = np.arange((n_film + n_shop) * D, dtype=np.float32).reshape(-1, D)
    film_truth = np.where(np.arange(n_film) % 3 == 2, -1, np.arange(n_film) % 2)
    shop_truth = np.arange(n_shop) % 2
    return References(
        FEATURE_MAP,
        {"film": rows[:n_film], "shop": rows[n_film:]},
        truth={"film": film_truth, "shop": shop_truth},
        predicted={"film": np.maximum(film_truth, 0), "shop": np.append(1, shop_truth[1:])},
    )


def test_labelled_rows_share_the_weight_of_their_domain() -> None:
    found = labelled_reference(references(), ("film", "shop"), hypothesis(0.25, 0.75))
    assert found.truth.tolist() == [0, 1, 1, 0, 0, 1, 0, 1]
    assert found.weights.tolist() == pytest.approx([0.25 / 4] * 4 + [0.75 / 4] * 4)
    assert found.rows[:, 0].tolist() == [i * D for i in (0, 1, 3, 4, 6, 7, 8, 9)]
    assert found.n_effective == pytest.approx(1 / (4 * (0.0625**2 + 0.1875**2)))
    assert found.n_wrong / found.n_effective == pytest.approx(0.75 / 4)


def test_a_domain_without_weight_has_no_rows() -> None:
    found = labelled_reference(references(), ("film", "shop"), hypothesis(0.0, 1.0))
    assert len(found.rows) == found.n_effective == 4
    assert found.n_wrong == pytest.approx(1.0)


def test_others_stand_in_for_a_domain_without_labels() -> None:
    full = references()
    bare = References(
        full.feature_map, full.rows, truth={"shop": full.truth["shop"]}, predicted=full.predicted
    )
    found = labelled_reference(bare, ("film", "shop"), hypothesis(0.5, 0.5))
    assert found.weights.tolist() == pytest.approx([0.25] * 4)


def test_without_any_label_there_is_nothing() -> None:
    full = references()
    found = labelled_reference(
        References(full.feature_map, full.rows), ("film", "shop"), hypothesis(0.5, 0.5)
    )
    assert len(found.rows) == 0
    assert found.n_effective == found.n_wrong == 0.0
    assert confidence_of(found, FEATURE_MAP.names) is None


def test_confidence_is_read_from_its_columns() -> None:
    many = references(900, 300)
    random = np.random.default_rng(0)
    rows = {
        domain: random.uniform(0.5, 1.0, size=each.shape).astype(np.float32)
        for domain, each in many.rows.items()
    }
    found = labelled_reference(
        References(many.feature_map, rows, truth=many.truth, predicted=many.predicted),
        ("film", "shop"),
        hypothesis(0.5, 0.5),
    )
    model = confidence_of(found, FEATURE_MAP.names)
    assert model is not None
    assert model.accuracy == pytest.approx(1 - 0.5 / 300)
    assert model.n == pytest.approx(found.n_effective)
    assert model.max_entropy in found.rows[:, FEATURE_MAP.names.index("entropy")]
