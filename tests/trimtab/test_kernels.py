"""Linear layers for serving: plain ones in fp32, none of the batch's business in 8 bits, shared where they can be."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trimtab.errors import SettingsError
from trimtab.kernels import (
    Int8Linear,
    OneDnnLinear,
    Precision,
    Reducer,
    fuse_activations,
    onednn_is_faster,
    with_fast_linears,
)
from trimtab.packing import share_tensors

CPU = torch.device("cpu")


def linear(n_in: int = 24, n_out: int = 40, *, bias: bool = True, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(n_in, n_out, bias=bias).requires_grad_(False)


def int8(layer: nn.Linear) -> Int8Linear:
    return Int8Linear(layer.weight, layer.bias)


def two_layers() -> nn.Sequential:
    return nn.Sequential(linear(), nn.LayerNorm(40), linear(40, 24, seed=1)).requires_grad_(False)


@pytest.mark.parametrize("shape", [(1, 24), (7, 24), (1, 300, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_onednn_is_a_linear_layer(shape: tuple[int, ...], bias: bool) -> None:
    plain = linear(bias=bias)
    fast = OneDnnLinear(24, 40, bias=bias, device="meta")
    fast.weight, fast.bias = plain.weight, plain.bias
    x = torch.randn(shape)
    with torch.inference_mode():
        assert (fast(x) - plain(x)).abs().max() <= 1e-6


def test_fast_linears_keep_the_tensors_and_leave_other_layers() -> None:
    class Own(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            return -super().forward(input)

    fast = nn.Sequential(linear(), Own(40, 3))
    weight, own = fast[0].weight, fast[1]
    with_fast_linears(fast, CPU)
    assert fast[0].weight is weight
    assert fast[1] is own
    assert isinstance(fast[0], OneDnnLinear) == onednn_is_faster()
    for_cuda = with_fast_linears(nn.Sequential(linear()), torch.device("cuda"))
    assert not any(isinstance(layer, OneDnnLinear) for layer in for_cuda.modules())


class Intermediate(nn.Module):
    """As BERT's: a linear layer, then an activation."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.dense, self.activation = linear(), activation

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.activation(self.dense(x))
        return found


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_fused_gelu_is_a_gelu(precision: Precision) -> None:
    plain = nn.Sequential(Intermediate(nn.GELU())).requires_grad_(False)
    fast = with_fast_linears(share_tensors(plain), CPU)
    assert fuse_activations(fast) == onednn_is_faster()
    if precision == "int8":
        fast = Reducer(plain, "int8", CPU).reduce(fast)
    x = torch.randn(9, 24)
    with torch.inference_mode():
        assert (fast(x) - plain(x)).abs().max() <= {"fp32": 1e-6, "int8": 0.05}[precision]


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(approximate="tanh"), nn.LayerNorm(40)])
def test_only_an_exact_gelu_is_fused(activation: nn.Module) -> None:
    module = Intermediate(activation)
    assert fuse_activations(with_fast_linears(module, CPU)) == 0
    assert module.activation is activation


def relative_error(layer: nn.Linear, x: Tensor) -> float:
    exact = layer(x)
    return float((int8(layer)(x) - exact).pow(2).mean().sqrt() / exact.std())


def test_int8_is_near_and_the_scale_of_a_row_does_not_matter() -> None:
    layer, x = linear(256, 64), torch.randn(50, 256)
    assert relative_error(layer, x) < 0.03
    scaled = x * torch.logspace(-4, 4, 50)[:, None]
    without = linear(256, 64, bias=False)
    exact = without(scaled)
    error = (int8(without)(scaled) - exact).norm(dim=1) / exact.norm(dim=1)
    assert error.max() < 0.06  # one scale for all rows would lose the small ones whole


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-6, 6), min_size=0, max_size=5), st.integers(0, 100))
def test_an_int8_row_is_bit_for_bit_the_same_in_any_company(magnitudes: list[float], seed: int) -> None:
    layer = int8(linear(32, 16))
    torch.manual_seed(seed)
    row = torch.randn(1, 32)
    company = [torch.randn(1, 32) * 10**m for m in magnitudes]
    assert torch.equal(layer(torch.cat([*company, row]))[-1:], layer(row))


def test_int8_takes_rows_of_zeros_and_keeps_the_bias() -> None:
    plain = linear()
    out = int8(plain)(torch.zeros(1, 3, 24))
    assert torch.equal(out, plain.bias.expand(1, 3, 40))


def test_int8_products_do_not_overflow() -> None:
    """The worst case: all weights and all inputs at the ends of their ranges, and of alternating sign."""
    layer = nn.Linear(512, 4, bias=False).requires_grad_(False)
    layer.weight.copy_(torch.tensor([1.0, -1.0]).repeat(4, 256))
    for x in (torch.ones(1, 512), -torch.ones(1, 512), torch.tensor([1.0, -1.0]).repeat(1, 256)):
        assert torch.allclose(int8(layer)(x), layer(x), atol=1.0, rtol=0.01)


@pytest.mark.parametrize("precision", ["int8", "bf16", "fp16"])
def test_what_variants_share_with_the_base_they_share_in_lower_precision_too(precision: Precision) -> None:
    base = two_layers()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    reducer = Reducer(base, precision, CPU)
    variants = [cast(nn.Sequential, share_tensors(base)) for _ in range(2)]
    for seed, variant in enumerate(variants):
        variant[2].weight = nn.Parameter(linear(40, 24, seed=5 + seed).weight, requires_grad=False)
    for variant in variants:
        reducer.reduce(variant)
    first, second = variants
    if precision == "int8":
        assert first[0] is second[0]
        assert first[2] is not second[2]
    else:
        assert first[0].weight is second[0].weight
        assert first[2].weight is not second[2].weight
        assert {p.dtype for p in first.parameters()} == {
            torch.bfloat16 if precision == "bf16" else torch.float16
        }
    assert all(torch.equal(before[name], tensor) for name, tensor in base.state_dict().items())
    assert {tensor.dtype for tensor in base.parameters()} == {torch.float32}


def test_int8_is_for_the_cpu() -> None:
    with pytest.raises(SettingsError, match="int8 is for the CPU"):
        Reducer(two_layers(), "int8", torch.device("cuda"))
