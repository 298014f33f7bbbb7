"""Loading a base: by directory, content-addressed, and a clear word when it cannot be."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from tests.fixtures.tiny_base import build_tiny_base
from trimtab.base import CHARACTERS_PER_TOKEN, load_base
from trimtab.errors import BaseModelMissing
from trimtab.packing import mean_pool


def test_equal_content_has_equal_digests_wherever_it_lies(tiny_base_dir: Path, tmp_path: Path) -> None:
    here, there = load_base(str(tiny_base_dir), "cpu"), tmp_path / "copy"
    shutil.copytree(tiny_base_dir, there)
    copied = load_base(str(there), "cpu")
    assert (copied.digest, copied.tokenizer_digest) == (here.digest, here.tokenizer_digest)
    other = load_base(str(build_tiny_base(tmp_path / "other", seed=5)), "cpu")
    assert other.digest != here.digest
    assert other.tokenizer_digest == here.tokenizer_digest


def test_the_base_is_frozen_and_in_fp32(tiny_base_dir: Path) -> None:
    base = load_base(str(tiny_base_dir), "cpu")
    assert not base.encoder.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in base.encoder.parameters())


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "a/b/c"])
def test_a_missing_directory_is_named(name: str) -> None:
    with pytest.raises(BaseModelMissing, match=f"{name}: there is no such directory"):
        load_base(name, "cpu")


def test_an_unreachable_hub_is_told_at_once_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    told = "base model someone/some-model: the Hugging Face hub does not answer.*name a directory"
    with pytest.raises(BaseModelMissing, match=told):
        load_base("someone/some-model", "cpu")


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelMissing, match=str(tmp_path)):
        load_base(str(tmp_path), "cpu")


def test_pickled_weights_are_refused(tiny_base_dir: Path, tmp_path: Path) -> None:
    directory = tmp_path / "pickled"
    shutil.copytree(tiny_base_dir, directory)
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(BaseModelMissing, match="safetensors"):
        load_base(str(directory), "cpu")


def test_texts_are_cut_at_the_positions_that_the_encoder_has(tiny_base_dir: Path) -> None:
    base = load_base(str(tiny_base_dir), "cpu")
    assert base.max_positions == 160
    (ids,) = base.encode(["good " * 300], 512)
    assert len(ids) == 160
    assert base.count_tokens(["good " * 300]) == [302]
    assert base.read(["good " * 300, "good"], 512).cut == (True, False)


def test_an_endless_text_costs_no_more_than_its_start(tiny_base_dir: Path) -> None:
    base = load_base(str(tiny_base_dir), "cpu")
    seen: list[str] = []
    whole = base.tokenizer

    class Spy:
        def encode_batch_fast(self, texts: list[str]) -> Any:
            seen.extend(texts)
            return whole.encode_batch_fast(texts)

    spied = replace(base, tokenizer=cast(Any, Spy()))
    endless = "good film " * 100_000
    read = spied.read([endless], 32)
    assert len(seen[0]) <= CHARACTERS_PER_TOKEN * 32
    assert read.ids[0] == base.read(["good film " * 100], 32).ids[0]
    assert read.cut == (True,)


@pytest.mark.parametrize("text", ["word " * 3000, "x" * 5000, "ab " + "y" * 5000, "a  b" * 2000, " " * 5000])
def test_the_start_of_a_text_gives_the_ids_of_the_whole(tiny_base_dir: Path, text: str) -> None:
    base = load_base(str(tiny_base_dir), "cpu")
    start = base.read([text], 64)
    whole = base.tokenizer.encode_batch_fast([text])[0].ids
    assert start.ids[0] == (whole if len(whole) <= 64 else [*whole[:63], whole[-1]])
    assert start.cut == (True,)


def test_tokens_are_counted_without_special_ones(tiny_base_dir: Path) -> None:
    base = load_base(str(tiny_base_dir), "cpu")
    assert base.n_special == 2
    assert base.count(base.encode(["good \u4e2d film", "", "good"], 64)).tolist() == [[3, 1], [0, 0], [1, 0]]


def test_mean_pool_ignores_padding() -> None:
    hidden = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [5.0], [5.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert mean_pool(hidden, mask).tolist() == [[2.0], [4.0]]
