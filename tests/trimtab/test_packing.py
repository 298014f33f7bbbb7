"""Without padding an encoder gives what it gives with padding, or it is run padded: never something else."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import (
    AlbertConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
)
from transformers.models.auto.modeling_auto import AutoModel

from trimtab.kernels import OneDnnLinear
from trimtab.packing import (
    PACKED,
    NotPackable,
    Runner,
    find_runner,
    pack,
    packed_attention,
    packed_states,
    padded_states,
    share_tensors,
)

CPU = torch.device("cpu")
VOCABULARY, POSITIONS = 300, 200
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": POSITIONS, "initializer_range": 0.3,
}  # fmt: skip
# Family -> (configuration, padding id, first position when packed; None: it is run padded).
FAMILIES: dict[str, tuple[PreTrainedConfig, int, int | None]] = {
    "bert": (BertConfig(**SHAPE), 0, 0),
    "distilbert": (
        DistilBertConfig(
            vocab_size=VOCABULARY, dim=32, n_layers=3, n_heads=4, hidden_dim=48,
            max_position_embeddings=POSITIONS, initializer_range=0.3,
        ), 0, 0,
    ),
    "roberta": (RobertaConfig(**SHAPE, pad_token_id=1), 1, 2),
    "mpnet": (MPNetConfig(**SHAPE), 1, None),
    "modernbert": (
        ModernBertConfig(
            **SHAPE, pad_token_id=0, local_attention=24,
            layer_types=["full_attention", "sliding_attention", "sliding_attention"],
            bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
        ), 0, 0,
    ),
    "electra": (ElectraConfig(**SHAPE, embedding_size=32), 0, 0),
    "albert": (AlbertConfig(**SHAPE, embedding_size=16), 0, 0),
    "deberta": (DebertaV2Config(**SHAPE, relative_attention=True, pos_att_type=["c2p", "p2c"]), 0, None),
}  # fmt: skip
MAX_TOKENS = POSITIONS - 2


def encoder_of(family: str) -> nn.Module:
    torch.manual_seed(3)
    encoder: nn.Module = AutoModel.from_config(FAMILIES[family][0])
    return encoder.eval().requires_grad_(False)


def texts_of(lengths: list[int], pad_id: int) -> list[list[int]]:
    drawn = random.Random(sum(lengths))
    ids = [token for token in range(VOCABULARY) if token != pad_id]
    return [drawn.choices(ids, k=length) for length in lengths]


def pooled(encoder: nn.Module, runner: Runner, ids: list[list[int]], pad_id: int) -> torch.Tensor:
    with torch.inference_mode():
        if runner.first_position is None:
            return padded_states(runner.encoder, ids, pad_id, CPU)
        return packed_states(runner.encoder, ids, runner.first_position, CPU)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_run_as_fast_as_it_honours_and_gives_its_padded_output(family: str) -> None:
    _, pad_id, first = FAMILIES[family]
    encoder = encoder_of(family)
    runner = find_runner(encoder, pad_id, MAX_TOKENS, CPU)
    assert runner.first_position == first
    ids = texts_of([5, 1, MAX_TOKENS, 5, 5, 30, 31, 2, 90], pad_id)
    with torch.inference_mode():
        alone = torch.cat([padded_states(encoder, [row], pad_id, CPU) for row in ids])
    assert (pooled(encoder, runner, ids, pad_id) - alone).abs().max() <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_running_leaves_the_pristine_encoder_alone_and_shares_its_tensors(family: str) -> None:
    _, pad_id, _ = FAMILIES[family]
    encoder = encoder_of(family)
    config: Any = encoder.config
    implementation = config._attn_implementation
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    runner = find_runner(encoder, pad_id, MAX_TOKENS, CPU)
    pooled(encoder, runner, texts_of([3, 9], pad_id), pad_id)
    assert config._attn_implementation == implementation != PACKED
    assert not any(isinstance(module, OneDnnLinear) for module in encoder.modules())
    own = dict(encoder.named_parameters())
    assert {name: tensor is own[name] for name, tensor in runner.encoder.named_parameters()} == dict.fromkeys(
        own, True
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize("family", ["bert", "modernbert", "roberta"])
def test_what_stands_beside_a_text_does_not_reach_it(family: str) -> None:
    _, pad_id, _ = FAMILIES[family]
    encoder = encoder_of(family)
    runner = find_runner(encoder, pad_id, MAX_TOKENS, CPU)
    ids = texts_of([7, 12, 7], pad_id)
    others = [texts_of([8], pad_id)[0][:7], ids[1], texts_of([60], pad_id)[0]]
    first, second = pooled(encoder, runner, ids, pad_id), pooled(encoder, runner, others, pad_id)
    assert (first[1] - second[1]).abs().max() <= 1e-5
    assert (first[0] - second[0]).abs().max() > 1e-2


class LooksAround(nn.Module):
    """An encoder that takes every argument, and mixes the texts of a row by a mean over all of them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.config = inner.config

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **more: Any
    ) -> Any:
        out = self.inner(input_ids=input_ids, attention_mask=attention_mask, **more)
        out.last_hidden_state = out.last_hidden_state + 0.01 * out.last_hidden_state.mean()
        return out


def test_an_encoder_that_mixes_texts_is_never_packed() -> None:
    runner = find_runner(LooksAround(encoder_of("bert")), 0, MAX_TOKENS, CPU)
    assert runner.first_position is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 3))
def test_a_pack_is_its_texts_behind_each_other(lengths: list[int], first: int) -> None:
    ids = texts_of(lengths, 0)
    row = pack(ids, first, CPU)
    assert row.ids.tolist() == [[token for text in ids for token in text]]
    assert row.positions.tolist() == [[first + i for length in lengths for i in range(length)]]
    assert row.offsets.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert [length for n, length in row.runs for _ in range(n)] == lengths
    assert all(one != two for (_, one), (_, two) in itertools.pairwise(row.runs))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.sampled_from([None, 1, 4, 100]),
    st.sampled_from([(4, 4), (4, 2)]),
)
def test_attention_is_each_texts_own(lengths: list[int], window: int | None, heads: tuple[int, int]) -> None:
    """Against the definition, softmax(q k^T / sqrt(d)) v per text, with a window and with shared key heads."""
    torch.manual_seed(sum(lengths))
    total, width = sum(lengths), 8
    q, k, v = (torch.randn(1, h, total, width) for h in (heads[0], heads[1], heads[1]))
    module: Any = nn.Module()
    module.num_key_value_groups = heads[0] // heads[1]
    row = pack(texts_of(lengths, 0), 0, CPU)
    found, _ = packed_attention(
        module, q, k, v, None, pack=row, scaling=width**-0.5, sliding_window=window, dropout=0.0
    )
    text = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.arange(total)
    seen = text[:, None] == text[None, :]
    if window is not None:
        seen &= (place[:, None] - place[None, :]).abs() < window
    k, v = (states.repeat_interleave(heads[0] // heads[1], dim=1) for states in (k, v))
    scores = (q @ k.transpose(-1, -2) * width**-0.5).masked_fill(~seen, float("-inf"))
    expected = (scores.softmax(-1) @ v).transpose(1, 2)
    assert found.shape == (1, total, heads[0], width)
    assert (found - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(("given_pack", "mask"), [(False, False), (True, True)])
def test_attention_that_cannot_be_split_is_refused(given_pack: bool, mask: bool) -> None:
    states = torch.randn(1, 2, 6, 4)
    row = pack([[1, 2, 3], [4, 5, 6]], 0, CPU) if given_pack else None
    with pytest.raises(NotPackable):
        packed_attention(nn.Module(), states, states, states, torch.ones(6, 6) if mask else None, pack=row)


def test_a_copy_that_shares_tensors_has_modules_of_its_own() -> None:
    encoder = encoder_of("bert")
    copied = share_tensors(encoder)
    own = set(map(id, encoder.modules()))
    assert not any(id(module) in own for module in copied.modules())
    assert all(a is b for a, b in zip(encoder.parameters(), copied.parameters(), strict=True))
    assert copied.config is not encoder.config
