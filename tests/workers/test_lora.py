"""Arithmetic on adapters against plain dense matrices."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load
from torch import Tensor

from trimtab.adapter import CONFIG, HEAD, WEIGHTS
from trimtab.base import BaseModel, load_base
from trimtab.bundle import trained_on
from trimtab.errors import MalformedAdapter
from workers.classifier import TrainableClassifier, continue_from
from workers.lora import (
    LowRank,
    change,
    delta,
    delta_distance,
    factors,
    inner,
    interpolate,
    norm,
    truncate,
)

TEXTS = ("good film", "the plot was not very good", "a phone that works day and night")


def moved(base: BaseModel, seed: int, size: float = 0.2) -> dict[str, bytes]:
    """Files of a version with random weights."""
    network = TrainableClassifier(base, 2, seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in (*network.lora_parameters(), *network.head.parameters()):
            parameter.add_(torch.randn(parameter.shape) * size)
    return network.files()


@pytest.fixture(scope="module")
def versions(tiny_base: BaseModel) -> tuple[dict[str, bytes], dict[str, bytes]]:
    return moved(tiny_base, 1), moved(tiny_base, 2)


def long_vector(layers: dict[str, Tensor]) -> Tensor:
    return torch.cat([layers[name].flatten() for name in sorted(layers)])


def factor(seed: int, rank: int, shape: tuple[int, int] = (7, 5)) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(shape[0], rank, generator=generator, dtype=torch.float64)
    return LowRank(up, torch.randn(rank, shape[1], generator=generator, dtype=torch.float64))


def test_the_delta_is_what_peft_adds(
    versions: tuple[dict[str, bytes], dict[str, bytes]], tiny_base_dir: Path, tmp_path: Path
) -> None:
    files, _ = versions
    for name in (WEIGHTS, CONFIG):
        (tmp_path / name).write_bytes(files[name])
    pristine = dict(load_base(str(tiny_base_dir), "cpu").encoder.named_parameters())
    peft = PeftModel.from_pretrained(load_base(str(tiny_base_dir), "cpu").encoder, str(tmp_path))
    merged = dict(peft.merge_and_unload().named_parameters())
    for name, matrix in delta(files).items():
        added = merged[f"{name}.weight"].double() - pristine[f"{name}.weight"].double()
        assert torch.allclose(matrix, added, atol=1e-6)


@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 4))
def test_sums_and_inner_products_are_those_of_the_matrices(seed: int, one: int, two: int) -> None:
    a, b = factor(seed, one), factor(seed + 1000, two)
    assert torch.allclose((a + b.scaled(-0.5)).matrix, a.matrix - 0.5 * b.matrix)
    assert a.inner(b) == pytest.approx(float((a.matrix * b.matrix).sum()))


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(1, 6), st.integers(1, 8))
def test_truncation_is_the_best_of_its_rank(seed: int, full: int, rank: int) -> None:
    layer = factor(seed, full)
    cut, lost, whole = truncate(layer, rank)
    u, s, v = torch.linalg.svd(layer.matrix, full_matrices=False)
    best = (u[:, :rank] * s[:rank]) @ v[:rank]
    assert torch.allclose(cut.matrix, best, atol=1e-9)
    assert lost == pytest.approx(float((layer.matrix - best).norm()), abs=1e-9)
    assert whole == pytest.approx(float(layer.matrix.norm()))
    assert (cut.up.shape, cut.down.shape) == ((7, rank), (rank, 5))


def test_norm_and_cosine_are_those_of_one_long_vector(
    versions: tuple[dict[str, bytes], dict[str, bytes]], tiny_base: BaseModel
) -> None:
    first, second = versions
    third = moved(tiny_base, 3)
    one, two = change(first, second), change(first, third)
    dense = [long_vector(delta(files)) for files in (first, second, third)]
    steps = dense[1] - dense[0], dense[2] - dense[0]
    found = delta_distance(one, two)
    assert found.norm == pytest.approx(float(steps[0].norm()))
    assert norm(two) == pytest.approx(float(steps[1].norm()))
    assert found.cosine == pytest.approx(float(torch.cosine_similarity(*steps, dim=0)))
    assert inner(one, two) == pytest.approx(float(steps[0] @ steps[1]))


def test_nothing_changed_has_no_direction(versions: tuple[dict[str, bytes], dict[str, bytes]]) -> None:
    first, second = versions
    nothing = change(first, first)
    assert delta_distance(nothing, change(first, second)).cosine == 0.0
    assert norm(nothing) == pytest.approx(0.0, abs=1e-6)
    assert delta_distance(change(first, second), change(first, second)).cosine == pytest.approx(1.0)


@pytest.mark.parametrize("alpha", [0.3, 0.8])
def test_with_rank_enough_the_interpolation_is_exact(
    versions: tuple[dict[str, bytes], dict[str, bytes]], tiny_base: BaseModel, alpha: float
) -> None:
    old, new = versions
    found = interpolate(old, new, alpha, rank=16)
    before, after, between = delta(old), delta(new), delta(found.files)
    for name, matrix in between.items():
        assert torch.allclose(matrix, (1 - alpha) * before[name] + alpha * after[name], atol=1e-5)
    assert found.truncation < 1e-6
    head, first, second = (load(files[HEAD]) for files in (found.files, old, new))
    for name in ("weight", "bias"):
        assert torch.allclose(head[name], (1 - alpha) * first[name] + alpha * second[name], atol=1e-6)
    network = continue_from(tiny_base, found.files, 2, seed=1)
    assert json.loads(network.files()[CONFIG])["r"] == 16


def test_the_truncation_error_is_what_is_missing(
    versions: tuple[dict[str, bytes], dict[str, bytes]],
) -> None:
    old, new = versions
    found = interpolate(old, new, 0.6)
    before, after, between = delta(old), delta(new), delta(found.files)
    exact = {name: 0.4 * before[name] + 0.6 * after[name] for name in before}
    lost = {name: float((between[name] - exact[name]).norm()) for name in exact}
    assert json.loads(found.files[CONFIG])["r"] == 8
    share = math.hypot(*lost.values()) / float(long_vector(exact).norm())
    assert found.truncation == pytest.approx(share, rel=1e-3)
    assert found.worst == pytest.approx(max(lost[n] / float(exact[n].norm()) for n in exact), rel=1e-3)
    assert 0.05 < found.truncation < found.worst


def test_a_continued_adapter_loses_little(tiny_base: BaseModel) -> None:
    """After a small step from the same factors the sum has nearly rank 8: that is the usual case."""
    network = TrainableClassifier(tiny_base, 2, 1)
    torch.manual_seed(0)
    files = []
    for size in (0.2, 0.02):
        with torch.no_grad():
            for parameter in network.lora_parameters():
                parameter.add_(torch.randn(parameter.shape) * size)
        files.append(network.files())
    assert interpolate(files[0], files[1], 0.5).truncation < 0.02


def test_the_ends_are_the_versions_themselves(
    versions: tuple[dict[str, bytes], dict[str, bytes]],
) -> None:
    old, new = versions
    assert interpolate(old, new, 0.0).files == old
    assert interpolate(old, new, 1.0).files == new


def test_every_point_says_what_it_was_trained_on(
    versions: tuple[dict[str, bytes], dict[str, bytes]], tiny_base: BaseModel
) -> None:
    for alpha in (0.0, 0.3, 1.0):
        assert trained_on(interpolate(*versions, alpha).files[WEIGHTS]) == tiny_base.digest


def test_what_lies_between_answers_in_between(
    versions: tuple[dict[str, bytes], dict[str, bytes]], tiny_base: BaseModel
) -> None:
    """A step of almost nothing answers almost as before."""
    old, new = versions
    answers = [
        continue_from(tiny_base, files, 2, seed=1).predict_logits(TEXTS, 32)
        for files in (old, interpolate(old, new, 1e-4, rank=16).files)
    ]
    assert np.abs(answers[0] - answers[1]).max() < 0.01


def test_a_layer_that_only_one_adapts_counts_as_zero_in_the_other(
    versions: tuple[dict[str, bytes], dict[str, bytes]],
) -> None:
    old, new = versions
    part = {name: value for name, value in factors(new).items() if "attention.self" in name}
    whole = delta_distance(factors(old), part)
    assert whole.norm == pytest.approx(norm(factors(old)))
    assert abs(whole.cosine) < 1.0


def test_nonsense_is_refused(versions: tuple[dict[str, bytes], dict[str, bytes]]) -> None:
    old, new = versions
    with pytest.raises(ValueError, match="alpha"):
        interpolate(old, new, 1.5)
    with pytest.raises(MalformedAdapter):
        factors({**old, WEIGHTS: b"nothing"})
