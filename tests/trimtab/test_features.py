"""Feature rows: one layout, exact projections, and a file that survives the round trip."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from scipy.special import log_softmax as scipy_log_softmax

from trimtab.errors import MalformedAdapter
from trimtab.features import (
    SCRIPTS,
    TEXT_FEATURES,
    FeatureMap,
    Outputs,
    References,
    character_shares,
    fit_feature_map,
    log_softmax,
    text_statistics,
)

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
        pytest.approx([4, 0.25, 1 / 6, 2 / 6, 0, 0, 0, 0]),
        pytest.approx([0] * 8),
    ]
    none = Outputs(*(each[:0] for each in vars(outputs).values()))
    assert text_statistics(none, []).shape == (0, 8)


@pytest.mark.parametrize(
    "text, script",
    [
        ("πλοίο", "greek_cyrillic_share"),
        ("судно", "greek_cyrillic_share"),
        ("سفينة", "arabic_indic_share"),
        ("ספינה", "arabic_indic_share"),
        ("जहाज़", "arabic_indic_share"),
        ("船舶", "east_asian_share"),
        ("ふね", "east_asian_share"),
        ("선박", "east_asian_share"),
        ("\U00020000", "east_asian_share"),
        ("—…€", "symbol_share"),
        ("🚢⚓", "symbol_share"),
    ],
)
def test_each_script_has_its_share(text: str, script: str) -> None:
    shares = dict(zip(TEXT_FEATURES[2:], character_shares(text + "ab" * len(text)), strict=True))
    others = {name: 0.0 for name in SCRIPTS if name != script}
    assert shares == pytest.approx({"non_ascii_share": 1 / 3, "digit_share": 0.0, script: 1 / 3} | others)


@given(st.text(st.characters(), max_size=40))
def test_character_shares_equal_a_count_by_character(text: str) -> None:
    n = max(len(text), 1)
    blocks = SCRIPTS.values()
    of_scripts = [
        sum(any(first <= ord(c) <= last for first, last in ranges) for c in text) / n for ranges in blocks
    ]
    digits = sum(unicodedata.digit(c, None) is not None for c in text) / n
    assert character_shares(text) == pytest.approx((sum(ord(c) > 127 for c in text) / n, digits, *of_scripts))


def test_a_lone_surrogate_is_counted_like_any_character() -> None:
    assert character_shares("a\ud800")[0] == 0.5


def test_many_classes_do_not_dominate_a_row() -> None:
    outputs = outputs_of(30, k=40)
    feature_map = fit_feature_map(outputs.pooled, [f"c{i}" for i in range(40)], 2)
    assert feature_map.rows(outputs, ["x"] * 30).shape[1] == len(feature_map.names) == 2 + 16 + 2 + 8


def some_references(n: int = 40) -> References:
    outputs = outputs_of(n)
    feature_map = fit_feature_map(outputs.pooled, ["a", "b", "c"], 5)
    rows = feature_map.rows(outputs, ["x"] * n)
    return References(
        feature_map,
        {"tweets/ü": rows[:10], "movie": rows},
        truth={"movie": RNG.integers(-1, 3, n), "tweets/ü": RNG.integers(-1, 3, 10)},
        predicted={"movie": RNG.integers(0, 3, n), "tweets/ü": RNG.integers(0, 3, 10)},
        keys={"movie": tuple(f"key {i}" for i in range(n)), "tweets/ü": ("",) * 10},
        ordered=frozenset({"movie"}),
        anchors=("movie",),
    )


def test_references_survive_the_round_trip() -> None:
    references = some_references()
    content = references.to_bytes()
    read = References.from_bytes(content)
    assert content == references.to_bytes() == read.to_bytes()
    assert read.feature_map.labels == ("a", "b", "c")
    assert np.array_equal(read.feature_map.components, references.feature_map.components)
    assert read.keys == references.keys
    assert (read.ordered, read.anchors) == (frozenset({"movie"}), ("movie",))
    for name in ("rows", "truth", "predicted"):
        before, after = getattr(references, name), getattr(read, name)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[domain], after[domain]) for domain in before)
    assert read.truth["movie"].dtype == np.int64


def test_what_is_not_said_of_a_row_is_not_known() -> None:
    full = some_references()
    plain = References(full.feature_map, full.rows)
    assert (plain.truth["movie"] == -1).all()
    assert (plain.predicted["tweets/ü"] == -1).all()
    assert plain.keys["tweets/ü"] == ("",) * 10
    assert not plain.ordered
    assert plain.anchors == ()


@pytest.mark.parametrize("member, value", [("truth", np.zeros(3, np.int64)), ("keys", ("one",))])
def test_members_of_another_length_are_refused(member: str, value: object) -> None:
    full = some_references()
    with pytest.raises(ValueError, match="one true label"):
        References(full.feature_map, full.rows, **{member: {"movie": value}})  # type: ignore[arg-type]


def test_labels_of_a_domain_without_rows_are_refused() -> None:
    full = some_references()
    with pytest.raises(ValueError, match="one true label"):
        References(full.feature_map, full.rows, truth={"elsewhere": np.zeros(0, np.int64)})


def test_a_file_of_the_first_layout_is_read() -> None:
    """Rows only, and the four text statistics that there were: its features stay what they were."""
    rows = np.ones((3, 5 + 3 + 2 + 4), dtype=np.float32)
    tensors = {
        "mean": np.zeros(12, np.float32),
        "components": np.eye(5, 12, dtype=np.float32),
        "rows.0": rows,
    }
    about = {"domains": json.dumps(["movie"]), "labels": json.dumps(["a", "b", "c"])}
    read = References.from_bytes(save_tensors(tensors, metadata={"trimtab": json.dumps(about)}))
    assert read.feature_map.names[-4:] == ("n_tokens", "unknown_share", "non_ascii_share", "digit_share")
    assert read.feature_map.rows(outputs_of(3), ["ü 1"] * 3).shape == read.rows["movie"].shape
    assert (read.truth["movie"] == -1).all()


def test_a_feature_that_this_release_does_not_compute_is_refused() -> None:
    full = some_references().feature_map
    later = FeatureMap(full.mean, full.components, full.labels, ("n_tokens", "n_smileys"))
    with pytest.raises(MalformedAdapter, match="n_smileys"):
        References.from_bytes(References(later, {}).to_bytes())


def test_a_file_whose_members_differ_in_length_is_refused() -> None:
    content = some_references().to_bytes()
    tensors = load_tensors(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    broken = save_tensors(tensors | {"truth.0": tensors["truth.0"][:-1]}, metadata=header)
    with pytest.raises(MalformedAdapter, match="one true label"):
        References.from_bytes(broken)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x02\x00\x00\x00\x00\x00\x00\x00{}", b"x" * 64])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedAdapter, match=r"references\.safetensors"):
        References.from_bytes(content)
