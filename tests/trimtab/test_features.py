"""Feature rows: one layout, exact projections, and a file that survives the round trip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax as scipy_log_softmax

from trimtab.errors import MalformedAdapter
from trimtab.features import Outputs, References, fit_feature_map, log_softmax, text_statistics

RNG = np.random.default_rng(3)


def outputs_of(n: int, h: int = 12, k: int = 3) -> Outputs:
    return Outputs(
        RNG.normal(size=(n, h)).astype(np.float32),
        RNG.normal(size=(n, k)).astype(np.float32) * 4,
        np.arange(n, dtype=np.int64),
        np.minimum(np.arange(n, dtype=np.int64), 2),
    )


def test_rows_have_one_named_column_each() -> None:
    outputs = outputs_of(40)
    feature_map = fit_feature_map(outputs.pooled, ["a", "b", "c"], 5)
    rows = feature_map.rows(outputs, ["text 1"] * 40)
    assert rows.shape == (40, len(feature_map.names))
    assert rows.dtype == np.float32
    assert feature_map.names[:6] == ("pca_00", "pca_01", "pca_02", "pca_03", "pca_04", "log_p_a")
    assert np.allclose(rows[:, 8], np.exp(rows[:, 5:8]).max(axis=1), atol=1e-6)


def test_projection_is_pca() -> None:
    pooled = (RNG.normal(size=(200, 8)) @ np.diag([9, 7, 5, 4, 3, 2, 1, 0.5])).astype(np.float32)
    feature_map = fit_feature_map(pooled, ["a", "b"], 4)
    projected = (pooled - feature_map.mean) @ feature_map.components.T
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(pooled.T)))[::-1][:4]
    assert np.allclose(np.cov(projected.T), np.diag(eigenvalues), rtol=1e-3, atol=1e-2)
    assert np.allclose(feature_map.components @ feature_map.components.T, np.eye(4), atol=1e-5)


def test_components_have_a_fixed_sign_and_never_more_than_the_data_hold() -> None:
    pooled = RNG.normal(size=(6, 8)).astype(np.float32)
    feature_map = fit_feature_map(pooled, ["a", "b"], 32)
    assert feature_map.components.shape == (5, 8)
    assert (feature_map.components[np.arange(5), np.abs(feature_map.components).argmax(axis=1)] > 0).all()


@given(st.lists(st.lists(st.floats(-80, 80, width=32), min_size=3, max_size=3), min_size=1, max_size=6))
def test_log_softmax_equals_scipy(logits: list[list[float]]) -> None:
    array = np.asarray(logits, dtype=np.float32)
    assert np.allclose(log_softmax(array), scipy_log_softmax(array, axis=1), atol=1e-4)


def test_text_statistics_by_hand() -> None:
    outputs = Outputs(
        np.zeros((2, 1), np.float32), np.zeros((2, 2), np.float32), np.array([4, 0]), np.array([1, 0])
    )
    assert text_statistics(outputs, ["año 12", ""]).tolist() == [
        pytest.approx([4, 0.25, 1 / 6, 2 / 6]),
        pytest.approx([0, 0, 0, 0]),
    ]


def test_many_classes_do_not_dominate_a_row() -> None:
    outputs = outputs_of(30, k=40)
    feature_map = fit_feature_map(outputs.pooled, [f"c{i}" for i in range(40)], 2)
    assert feature_map.rows(outputs, ["x"] * 30).shape[1] == len(feature_map.names) == 2 + 16 + 2 + 4


def test_references_survive_the_round_trip() -> None:
    outputs = outputs_of(40)
    feature_map = fit_feature_map(outputs.pooled, ["a", "b", "c"], 5)
    rows = feature_map.rows(outputs, ["x"] * 40)
    references = References(feature_map, {"tweets/ü": rows[:10], "movie": rows})
    content = references.to_bytes()
    read = References.from_bytes(content)
    assert content == references.to_bytes()
    assert read.feature_map.labels == ("a", "b", "c")
    assert set(read.rows) == {"tweets/ü", "movie"}
    assert np.array_equal(read.rows["tweets/ü"], rows[:10])
    assert np.array_equal(read.feature_map.components, feature_map.components)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x02\x00\x00\x00\x00\x00\x00\x00{}", b"x" * 64])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedAdapter, match=r"references\.safetensors"):
        References.from_bytes(content)
