"""Forward passes without padding: the texts of a batch lie behind each other in one row, each attends to itself.

transformers lets a program register an attention function. Ours gets queries, keys and values of one row of T tokens
and computes each text apart, so that the unchanged Hugging Face encoder spends nothing on padding. Whether an encoder
honours this is found out when it is loaded, by comparing with its padded output; what does not is run padded.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from trimtab.kernels import fuse_activations, with_fast_linears

PACKED = "trimtab_packed"
# Largest difference to the padded output of the pristine encoder, relative to its largest state (at least 1).
TOLERANCE = 1e-5
# Texts of one padded pass; longer runs of sorted texts waste more on padding than they gain.
PADDED_TEXTS = 8
_HALF = (torch.bfloat16, torch.float16)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runner:
    """An encoder as it is run. It shares every tensor with the pristine one.

    first_position: position id of a text's first token in a packed row; None: the encoder is run padded.
    fuses: activations may be fused into the products of a copy that is only asked (`fuse_activations`).
    """

    encoder: nn.Module
    first_position: int | None
    fuses: bool = False


@dataclass(frozen=True, eq=False)
class Pack:
    """n texts in one row: ids and positions are (1, T), lengths (n,) sums to T."""

    ids: Tensor
    positions: Tensor
    lengths: tuple[int, ...]

    @cached_property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """(n, length) of neighbours of equal length: they need one call of the attention kernel."""
        return tuple((len(tuple(group)), length) for length, group in itertools.groupby(self.lengths))

    @cached_property
    def offsets(self) -> Tensor:
        """(n + 1,) int32: where each text starts, and T; as variable-length kernels want it."""
        starts = list(itertools.accumulate(self.lengths, initial=0))
        return torch.tensor(starts, dtype=torch.int32, device=self.ids.device)


class NotPackable(Exception):
    """This encoder asks for attention that is not computed per text."""


def pack(ids: Sequence[Sequence[int]], first_position: int, device: torch.device) -> Pack:
    """One row of encoded texts; positions start anew at each text."""
    lengths = tuple(len(row) for row in ids)
    tokens = list(itertools.chain.from_iterable(ids))
    positions = [first_position + i for length in lengths for i in range(length)]
    # One transfer to the device for both.
    both = torch.tensor([[tokens], [positions]]).to(device)
    return Pack(both[0], both[1], lengths)


def packed_states(
    encoder: nn.Module, ids: Sequence[Sequence[int]], first_position: int, device: torch.device
) -> Tensor:
    """(n, h) fp32: mean of the last hidden states of each text. Texts of equal length should be neighbours."""
    row = pack(ids, first_position, device)
    hidden = encoder(input_ids=row.ids, position_ids=row.positions, pack=row).last_hidden_state[0]
    lengths = torch.tensor(row.lengths, device=device)
    return torch.segment_reduce(hidden.float(), "mean", lengths=lengths)


def padded_states(
    encoder: nn.Module, ids: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> Tensor:
    """(n, h) fp32: the same by a padded pass."""
    longest = max(len(row) for row in ids)
    tokens = torch.tensor([[*row, *[pad_id] * (longest - len(row))] for row in ids], device=device)
    lengths = torch.tensor([len(row) for row in ids], device=device)
    mask = torch.arange(longest, device=device) < lengths[:, None]
    hidden = encoder(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    return mean_pool(hidden.float(), mask)


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """(n, h): the mean of the last hidden states (n, t, h) over the tokens of the mask (n, t)."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    pack: Pack | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention of each text to itself.

    Args:
        query, key, value: (1, heads, T, d); keys and values may have fewer heads.
        sliding_window: a token sees those less than this many tokens away, as transformers passes it.

    Returns:
        (1, T, heads, d), and no attention weights.

    Raises:
        NotPackable: the encoder made a mask of its own, or did not hand on the pack.
    """
    if pack is None or attention_mask is not None:
        raise NotPackable
    if query.is_cuda and query.dtype in _HALF:
        return _variable_length(pack, query, key, value, scaling, sliding_window), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    more |= {"scaling": scaling, "is_causal": False}
    sizes = [n * length for n, length in pack.runs]
    # Split, not sliced: the gradient of many slices of one tensor would fill the whole of it for each.
    split = zip(
        *(torch.split(states.squeeze(0), sizes, dim=1) for states in (query, key, value)), strict=True
    )
    parts = []
    for (n, length), states in zip(pack.runs, split, strict=True):
        q, k, v = (_texts(each, n, length) for each in states)
        out, _ = sdpa_attention_forward(module, q, k, v, _window(length, sliding_window, q.device), **more)
        parts.append(out.reshape(1, n * length, *out.shape[2:]))
    return torch.cat(parts, dim=1), None


def _texts(states: Tensor, n: int, length: int) -> Tensor:
    """(n, heads, length, d): n texts of equal length out of (heads, n * length, d)."""
    heads, _, width = states.shape
    return states.reshape(heads, n, length, width).transpose(0, 1)


def _window(length: int, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """(1, 1, length, length) boolean mask of a local attention layer; None where every token sees every other."""
    if sliding_window is None or length <= sliding_window:
        return None
    place = torch.arange(length, device=device)
    return ((place[:, None] - place[None, :]).abs() < sliding_window)[None, None]


def _variable_length(
    pack: Pack, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, sliding_window: int | None
) -> Tensor:
    """One flash kernel for all texts, whatever their lengths (CUDA, half precision)."""
    from torch.nn.attention.varlen import varlen_attn

    side = -1 if sliding_window is None else sliding_window - 1
    longest = max(pack.lengths)
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    starts = pack.offsets
    out = varlen_attn(
        q, k, v, starts, starts, longest, longest,
        scale=scaling, window_size=(side, side), enable_gqa=q.shape[1] != k.shape[1],
    )  # fmt: skip
    # Without auxiliary output it is a tensor alone.
    return cast(Tensor, out)[None]


def share_tensors(encoder: nn.Module) -> nn.Module:
    """A copy of the module tree that shares every parameter and buffer."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in encoder.parameters()}
    shared |= {id(tensor): tensor for tensor in encoder.buffers()}
    return copy.deepcopy(encoder, shared)


def own_bytes(encoder: nn.Module, shared: Iterable[Tensor]) -> int:
    """Memory of an encoder's parameters and buffers that are none of the shared tensors."""
    known = {tensor.data_ptr() for tensor in shared}
    tensors = itertools.chain(encoder.parameters(), encoder.buffers())
    return sum(t.numel() * t.element_size() for t in tensors if t.data_ptr() not in known)


def find_runner(encoder: nn.Module, pad_id: int, max_positions: int, device: torch.device) -> Runner:
    """The fastest way to run this encoder that reproduces its padded output.

    Tried in this order: packed with positions from 0, packed with positions after the padding id (RoBERTa), padded
    with fast linear layers, as it is.
    """
    probes = _probes(encoder, pad_id, max_positions)
    with torch.inference_mode():
        expected = padded_states(encoder, probes, pad_id, device)
        tree = with_fast_linears(share_tensors(encoder), device)
        packed = _packed(share_tensors(tree))
        for runner in (Runner(packed, 0), Runner(packed, pad_id + 1), Runner(tree, None)):
            if _reproduces(runner, probes, pad_id, device, expected):
                fused = replace(runner, encoder=share_tensors(runner.encoder))
                fuses = fuse_activations(fused.encoder) > 0
                return replace(runner, fuses=fuses and _reproduces(fused, probes, pad_id, device, expected))
    _log.warning("%s is run padded and unchanged: nothing faster reproduces it", type(encoder).__name__)
    return Runner(share_tensors(encoder), None)


def _reproduces(
    runner: Runner, probes: Sequence[Sequence[int]], pad_id: int, device: torch.device, expected: Tensor
) -> bool:
    try:
        if runner.first_position is None:
            found = padded_states(runner.encoder, probes, pad_id, device)
        else:
            found = packed_states(runner.encoder, probes, runner.first_position, device)
    except Exception as error:  # noqa: BLE001  # whatever a foreign forward does with a packed row, it is run padded
        _log.debug("%s cannot be run by %s: %r", type(runner.encoder).__name__, runner.first_position, error)
        return False
    scale = max(1.0, float(expected.abs().max()))
    return bool((found - expected).abs().max() <= TOLERANCE * scale)


def _packed(encoder: nn.Module) -> nn.Module:
    """The encoder with our attention function, where it can have one."""
    from transformers import AttentionInterface
    from transformers.utils import logging as transformers_logging

    AttentionInterface.register(PACKED, packed_attention)
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    with contextlib.suppress(Exception):  # it stays as it is then, and does not reproduce the padded output
        encoder.set_attn_implementation(PACKED)  # type: ignore[operator]
    transformers_logging.set_verbosity(level)
    return encoder


def _probes(encoder: nn.Module, pad_id: int, max_positions: int) -> list[list[int]]:
    """Random token ids: neighbours of equal and of different lengths, one longer than a layer's window."""
    config: Any = encoder.config
    window = getattr(config, "sliding_window", None) or 0
    longest = min(max_positions, max(96, window + 32))
    ids = (token for token in _lcg(config.vocab_size) if token != pad_id)
    return [list(itertools.islice(ids, n)) for n in (3, 7, 7, 20, longest)]


def _lcg(modulus: int) -> Iterator[int]:
    """Endless numbers below the modulus, always the same ones (Numerical Recipes' generator)."""
    state = 1
    while True:
        state = (1664525 * state + 1013904223) % 2**32
        yield state * modulus // 2**32
