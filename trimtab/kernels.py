"""Linear layers for serving: the fastest fp32 product of this machine, and lower precisions on request.

A layer made here answers each row by itself: what else is in the batch moves the last bits at most.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trimtab.errors import SettingsError

Precision = Literal["fp32", "bf16", "fp16", "int8"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The shape that is timed: a batch of texts through a small encoder's first feed-forward layer.
_TIMED_SHAPE = (224, 384, 1536)
_WORTH_IT = 1.1
_SMALLEST = 1e-12


class OneDnnLinear(nn.Linear):
    """nn.Linear by oneDNN, which knows AVX-512 of every maker; the BLAS behind nn.Linear may not.

    then: the activation that oneDNN applies while the product is still in the cache.
    """

    then: Literal["none", "gelu"] = "none"

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        return _onednn(input, self.weight, self.bias, self.then)


class Int8Linear(nn.Module):
    """y = x W^T + b in 8 bits: a scale for each row of W (output channel), a scale and an offset for each token x. CPU.

    A token is quantised as it comes, over its own range, so that what becomes of it does not depend on its batch: the
    vector-wise quantisation of LLM.int8() (https://arxiv.org/abs/2208.07339), without outlier columns, with offsets,
    because activations after GELU and LayerNorm are one-sided. With x = offset + step q:
    y = step (q W^T) + offset sum(W) + b.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, then: Literal["none", "gelu"] = "none") -> None:
        super().__init__()
        self.then = then
        scales = weight.abs().amax(dim=1).clamp_min(_SMALLEST) / 127
        whole = (weight / scales[:, None]).round().to(torch.int8)
        # (in, out), as the product takes it.
        self.weight = nn.Buffer(whole.t().contiguous())
        self.scales = nn.Buffer(scales)
        self.sums = nn.Buffer(whole.sum(dim=1) * scales)
        self.bias = nn.Buffer(torch.zeros(len(weight)) if bias is None else bias)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        low, high = rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)
        step = ((high - low) / 255).clamp_min_(_SMALLEST)
        # Multiples of the step above the offset, from -128 to 127.
        offset = low + 128 * step
        whole = torch.sub(rows, offset).mul_(1 / step).round_().clamp_(-128, 127).to(torch.int8)
        product = torch._int_mm(whole, self.weight) * step  # noqa: SLF001  # sums in 32 bits, exactly
        out = torch.addcmul(self.bias, offset, self.sums).addcmul_(product, self.scales)
        out = nn.functional.gelu(out) if self.then == "gelu" else out
        return out.view(*x.shape[:-1], -1)


def with_fast_linears(encoder: nn.Module, device: torch.device) -> nn.Module:
    """The same encoder, its plain linear layers replaced where oneDNN is faster on this machine; tensors are kept."""
    if device.type == "cpu" and onednn_is_faster():
        for name, layer in linears(encoder):
            encoder.set_submodule(name, _by_onednn(layer))
    return encoder


def fuse_activations(encoder: nn.Module) -> int:
    """Lets oneDNN apply the GELUs that follow its products, in place; returns how many.

    Found are modules of nothing but a linear layer and a GELU, such as BERT's intermediate layer. Whether that is the
    order in which they are run is for the caller to find out, by comparing outputs.
    """
    n = 0
    for module in encoder.modules():
        match [*module.named_children()]:
            case [(_, OneDnnLinear() as layer), (name, activation)] if _is_exact_gelu(activation):
                layer.then = "gelu"
                setattr(module, name, nn.Identity())
                n += 1
    return n


def _is_exact_gelu(activation: nn.Module) -> bool:
    """torch's own GELU or that of transformers, without the approximation by tanh."""
    if isinstance(activation, nn.GELU):
        return activation.approximate == "none"
    return getattr(activation, "act", None) is nn.functional.gelu


@cache
def onednn_is_faster() -> bool:
    """Whether oneDNN multiplies at least 1.1 times as fast as the default BLAS; timed once per process (some 10 ms)."""
    n, n_in, n_out = _TIMED_SHAPE
    plain = nn.Linear(n_in, n_out)
    x = torch.ones(n, n_in)
    with torch.inference_mode():
        try:
            fast = _best_time(_by_onednn(plain), x)
        except (AttributeError, NotImplementedError, RuntimeError):
            return False
        return fast * _WORTH_IT < _best_time(plain, x)


def _best_time(layer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    times = []
    for _ in range(8):
        started = time.perf_counter()
        layer(x)
        times.append(time.perf_counter() - started)
    return min(times)


def _by_onednn(layer: nn.Linear) -> OneDnnLinear:
    bias = layer.bias is not None
    fast = OneDnnLinear(layer.in_features, layer.out_features, bias=bias, device="meta")
    fast.weight, fast.bias = layer.weight, layer.bias
    return fast.eval()


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W' + b by whatever is faster on this CPU; x (..., in), W (out, in). Nothing is recorded for a gradient."""
    return _onednn(x, weight, bias) if onednn_is_faster() else nn.functional.linear(x, weight, bias)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    # What torch.compile calls for a frozen linear layer: it has no public name. The last word: GELU by erf, not tanh.
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "none")  # noqa: SLF001
    return out


def linears(encoder: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Plain linear layers by name, those of `with_fast_linears` too: a subclass may mean something else."""
    found = dict(encoder.named_modules()).items()
    return [(name, layer) for name, layer in found if type(layer) in {nn.Linear, OneDnnLinear}]


class Reducer:
    """Turns encoders of one base to a lower precision; what they share with the base is turned once and shared."""

    def __init__(self, base: nn.Module, precision: Precision, device: torch.device) -> None:
        """Raises SettingsError when the device does not serve this precision."""
        if precision == "int8" and device.type != "cpu":
            raise SettingsError(f"TRIMTAB_SERVER__PRECISION: int8 is for the CPU, the device is {device}")
        self.precision = precision
        self._base = {id(tensor): tensor for tensor in base.parameters()}
        self._buffers = list(base.buffers())
        # id of a base tensor -> what it became.
        self._known: dict[int, Any] = {}

    def reduce(self, encoder: nn.Module) -> nn.Module:
        """The encoder in the lower precision, in place: its modules get other parameters, none is written to."""
        if self.precision == "int8":
            for name, layer in linears(encoder):
                encoder.set_submodule(name, self._once(layer.weight, partial(_int8, layer)))
        else:
            for module in encoder.modules():
                for name, parameter in list(module.named_parameters(recurse=False)):
                    setattr(module, name, self._once(parameter, partial(_cast, parameter, self.precision)))
        return encoder

    @property
    def shared(self) -> list[Tensor]:
        """The tensors that encoders of this base share after `reduce`."""
        made = [
            [m] if isinstance(m, Tensor) else [*m.parameters(), *m.buffers()] for m in self._known.values()
        ]
        return [*self._base.values(), *self._buffers, *itertools.chain.from_iterable(made)]

    def _once(self, tensor: Tensor, make: Callable[[], Any]) -> Any:
        if id(tensor) not in self._base:
            return make()
        if id(tensor) not in self._known:
            self._known[id(tensor)] = make()
        return self._known[id(tensor)]


def _cast(parameter: nn.Parameter, precision: str) -> nn.Parameter:
    return nn.Parameter(parameter.detach().to(_DTYPES[precision]), requires_grad=False)


def _int8(layer: nn.Linear) -> Int8Linear:
    bias: Tensor | None = layer.bias
    then = layer.then if isinstance(layer, OneDnnLinear) else "none"
    return Int8Linear(layer.weight.detach(), None if bias is None else bias.detach(), then)
