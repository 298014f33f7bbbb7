"""The merge: equal to peft, on a copy that shares the rest, and whatever does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load, save

from tests.fixtures.tiny_base import build_tiny_base
from tests.fixtures.versions import make_version
from trimtab.adapter import (
    CONFIG,
    HEAD,
    MANIFEST,
    REMEDY,
    WEIGHTS,
    AdapterManifest,
    Golden,
    digest_of,
    verify,
)
from trimtab.base import BaseModel, load_base
from trimtab.bundle import (
    TRAINED_ON,
    ModelBundle,
    Remedy,
    at_precision,
    build_bundle,
    golden_of,
    merge,
    probability_shift,
    self_test,
    trained_on,
)
from trimtab.errors import BaseMismatch, MalformedAdapter, SelfTestFailed
from trimtab.kernels import Reducer
from trimtab.packing import mean_pool

KEY = Ed25519PrivateKey.generate()
TEXTS = [
    "a good film",
    "the battery is bad and the price is not cheap at all, no",
    "x",
    "",
    "very very fun !",
]


@pytest.fixture(scope="module")
def base(tiny_base_dir: Path) -> BaseModel:
    return load_base(str(tiny_base_dir), "cpu")


def built(base: BaseModel, files: dict[str, bytes]) -> ModelBundle:
    manifest = AdapterManifest.from_bytes(files[MANIFEST])
    return build_bundle(base, files, manifest=manifest, digest=digest_of(files))


def test_the_merge_equals_peft(base: BaseModel, tiny_base_dir: Path, tmp_path: Path) -> None:
    files = make_version(base, KEY)
    config = json.loads(files[CONFIG]) | {"target_modules": "all-linear", "base_model_name_or_path": "x"}
    (tmp_path / WEIGHTS).write_bytes(files[WEIGHTS])
    config["target_modules"] = sorted(
        {key.split(".lora_")[0].removeprefix("base_model.model.") for key in load(files[WEIGHTS])}
    )
    (tmp_path / CONFIG).write_text(json.dumps(config))
    plain = PeftModel.from_pretrained(load_base(str(tiny_base_dir), "cpu").encoder, str(tmp_path))
    bundle = built(base, files)
    for text in TEXTS:
        tokens = base.pad(base.encode([text], 128))
        with torch.inference_mode():
            hidden = plain(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
        assert np.allclose(bundle.predict([text]).pooled, mean_pool(hidden, tokens.mask).numpy(), atol=1e-5)


def test_the_base_is_untouched_and_everything_else_is_shared(base: BaseModel) -> None:
    before = {name: tensor.clone() for name, tensor in base.encoder.state_dict().items()}
    bundle = built(base, make_version(base, KEY))
    own = dict(base.encoder.named_parameters())
    shared = {n for n, p in bundle.encoder.named_parameters() if p.data_ptr() == own[n].data_ptr()}
    assert all(torch.equal(base.encoder.state_dict()[name], tensor) for name, tensor in before.items())
    assert {n for n in own if n not in shared} == {
        n
        for n in own
        if n.endswith("weight")
        and ("attention" in n or "dense" in n)
        and "LayerNorm" not in n
        and "pooler" not in n
    }


def test_two_versions_answer_differently_and_each_always_the_same(base: BaseModel) -> None:
    one, two = built(base, make_version(base, KEY, seed=1)), built(base, make_version(base, KEY, seed=2))
    first = one.predict(TEXTS[:1]).logits
    assert np.abs(first - two.predict(TEXTS[:1]).logits).max() > 1e-2
    assert np.array_equal(first, one.predict(TEXTS[:1]).logits)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([*TEXTS, "no " * 40, "film"]), min_size=1, max_size=40))
def test_an_answer_does_not_depend_on_its_batch(base: BaseModel, texts: list[str]) -> None:
    bundle = built(base, make_version(base, KEY))
    together = bundle.predict(texts)
    alone = np.vstack([bundle.predict([text]).logits for text in texts])
    assert np.abs(together.logits - alone).max() <= 1e-5
    assert together.n_tokens.tolist() == [max(len(ids) - 2, 0) for ids in base.encode(texts, 128)]


def test_a_lower_precision_is_a_bundle_beside_the_first(base: BaseModel) -> None:
    bundle = built(base, make_version(base, KEY))
    before = bundle.predict(TEXTS)
    reducer = Reducer(base.encoder, "int8", base.device)
    reduced = at_precision(bundle, reducer)
    assert (bundle.precision, reduced.precision, reduced.version) == ("fp32", "int8", bundle.version)
    assert np.array_equal(bundle.predict(TEXTS).logits, before.logits)
    assert 0 < np.abs(reduced.predict(TEXTS).logits - before.logits).max() < 0.5
    assert 0 < probability_shift(bundle, reduced) < 0.05
    assert probability_shift(bundle, bundle) == 0


def test_int8_answers_do_not_depend_on_their_batch(base: BaseModel) -> None:
    """Rounding may tip where fp32 sums differ in their last bits, hence not 1e-5; a scale a batch would give 0.1."""
    bundle = at_precision(built(base, make_version(base, KEY)), Reducer(base.encoder, "int8", base.device))
    loud = ["!!!! " * 30, "love " * 100]
    together = bundle.predict([*TEXTS, *loud]).logits[: len(TEXTS)]
    alone = np.vstack([bundle.predict([text]).logits for text in TEXTS])
    assert np.abs(together - alone).max() <= 0.02


def test_a_variant_costs_what_it_changes(base: BaseModel) -> None:
    files = make_version(base, KEY)
    lora = {
        key: tensor for key, tensor in load(files[WEIGHTS]).items() if ".query." in key or ".value." in key
    }
    changed = 2 * 2 * 32 * 32
    assert built(base, files | {WEIGHTS: save(lora)}).own_bytes == 4 * changed
    assert built(base, files | {WEIGHTS: save({})}).own_bytes == 0
    reducer = Reducer(base.encoder, "int8", base.device)
    quarter = at_precision(built(base, files | {WEIGHTS: save(lora)}), reducer).own_bytes
    assert changed < quarter < 2 * changed  # scales and biases beside it


def test_long_texts_are_cut_and_keep_their_last_token(base: BaseModel) -> None:
    (ids,) = base.encode(["good " * 500], 16)
    assert len(ids) == 16
    assert ids[-1] == base.encode(["good"], 16)[0][-1]


def test_unknown_tokens_are_counted(base: BaseModel) -> None:
    outputs = built(base, make_version(base, KEY)).predict(["good \u4e2d film", "good"])
    assert outputs.n_unknown.tolist() == [1, 0]
    assert outputs.n_tokens.tolist() == [3, 1]


def test_the_remedy_shifts_and_sharpens(base: BaseModel) -> None:
    files = make_version(base, KEY) | {REMEDY: Remedy(2.0, (0.5, -0.5)).to_bytes()}
    logits = np.array([[1.0, 3.0]], dtype=np.float32)
    expected = np.exp([1.0, 1.0]) / np.exp([1.0, 1.0]).sum()
    assert np.allclose(built(base, files).probabilities(logits), expected, atol=1e-6)


def test_centring_moves_the_rows_of_a_domain_only(base: BaseModel) -> None:
    remedy = Remedy(2.0, (0.5, -0.5), {"tweets": (1.0, -1.0)})
    logits = np.array([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0]], dtype=np.float32)
    rows = remedy.apply(logits, ["tweets", None, "news"])
    assert np.allclose(np.exp(rows).sum(axis=1), 1)
    assert np.allclose(
        np.diff(rows), [[-1.0], [0.0], [0.0]], atol=1e-6
    )  # ((3 - 1) - 2) / 2 - 1 and (3 - 1) / 2 - 1
    assert np.array_equal(remedy.apply(logits), Remedy(2.0, (0.5, -0.5)).apply(logits))
    assert Remedy.from_bytes(remedy.to_bytes()) == remedy


def test_centring_is_a_shift_of_the_mean_state(base: BaseModel) -> None:
    """W (z + m - m_d) + b, computed by the head, is what the remedy gives from logits."""
    bundle = built(base, make_version(base, KEY))
    moved = np.random.default_rng(0).normal(size=base.hidden_size).astype(np.float32)
    weight, bias = bundle.head_weight.numpy(), bundle.head_bias.numpy()
    outputs = bundle.predict(TEXTS)
    expected = (outputs.pooled + moved) @ weight.T + bias
    remedy = Remedy(shifts={"tweets": tuple(float(v) for v in weight @ moved)})
    found = remedy.apply(outputs.logits, ["tweets"] * len(TEXTS))
    assert np.allclose(found, Remedy().apply(expected), atol=1e-4)


def test_golden_outputs_are_reproduced_or_refused(base: BaseModel) -> None:
    bundle = built(base, make_version(base, KEY))
    golden = golden_of(bundle)
    assert self_test(bundle, golden) <= 1e-6
    wrong = Golden(texts=golden.texts, logits=tuple((a + 0.01, b) for a, b in golden.logits))
    with pytest.raises(SelfTestFailed):
        self_test(bundle, wrong)
    with pytest.raises(SelfTestFailed):
        self_test(
            bundle, Golden(texts=golden.texts, logits=tuple((float("nan"), b) for _, b in golden.logits))
        )


def test_permuted_labels_do_not_pass_the_self_test(base: BaseModel) -> None:
    files = make_version(base, KEY)
    golden = AdapterManifest.from_bytes(files[MANIFEST]).golden
    head = load(files[HEAD])
    flipped = built(base, files | {HEAD: save({k: v.flip(0).contiguous() for k, v in head.items()})})
    with pytest.raises(SelfTestFailed):
        self_test(flipped, golden)


def test_another_base_is_refused(base: BaseModel, tmp_path: Path) -> None:
    other = load_base(str(build_tiny_base(tmp_path, seed=9)), "cpu")
    files = make_version(base, KEY)
    with pytest.raises(BaseMismatch, match="weights"):
        build_bundle(other, files, manifest=verify(files, KEY.public_key()), digest="")


def test_weights_that_were_trained_on_another_base_are_refused(base: BaseModel) -> None:
    files = make_version(base, KEY)
    for digest in (base.digest, "f" * 64):
        files[WEIGHTS] = save(load(files[WEIGHTS]), metadata={TRAINED_ON: digest})
        assert trained_on(files[WEIGHTS]) == digest
        if digest == base.digest:
            built(base, files)
    with pytest.raises(BaseMismatch, match="trained on another base"):
        built(base, files)


def _lora_with(change: dict[str, torch.Tensor], files: dict[str, bytes]) -> bytes:
    return save(load(files[WEIGHTS]) | change)


FIRST = "base_model.model.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    "change",
    [
        {f"{FIRST}.lora_A.weight": torch.full((4, 32), float("nan"))},
        {f"{FIRST}.lora_A.weight": torch.zeros(4, 31)},
        {f"{FIRST}.lora_B.weight": torch.zeros(32, 5)},
        {
            "base_model.model.nowhere.lora_A.weight": torch.zeros(4, 32),
            "base_model.model.nowhere.lora_B.weight": torch.zeros(32, 4),
        },
        {"surprise": torch.zeros(1)},
    ],
)
def test_weights_that_do_not_fit_are_refused(base: BaseModel, change: dict[str, torch.Tensor]) -> None:
    files = make_version(base, KEY)
    with pytest.raises(MalformedAdapter, match=WEIGHTS):
        built(base, files | {WEIGHTS: _lora_with(change, files)})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (WEIGHTS, b"not a tensor file"),
        (CONFIG, b"{}"),
        (CONFIG, b'{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": true}'),
        (CONFIG, b'{"peft_type": "LORA", "r": 4096, "lora_alpha": 8}'),
        (CONFIG, b'{"peft_type": "IA3", "r": 4, "lora_alpha": 8}'),
        (HEAD, save({"weight": torch.zeros(3, 32), "bias": torch.zeros(3)})),
        (HEAD, save({"weight": torch.zeros(2, 32)})),
        (REMEDY, b"{}"),
        (REMEDY, b'{"temperature": 0, "log_prior": null}'),
        (REMEDY, b'{"temperature": 1, "log_prior": [0.5]}'),
        (REMEDY, b'{"temperature": 1, "log_prior": null, "shifts": {"a": [1, 2, 3]}}'),
        (REMEDY, b'{"temperature": 1, "log_prior": null, "shifts": {"a": [1, NaN]}}'),
        (REMEDY, b'{"temperature": 1, "log_prior": null, "shifts": 3}'),
    ],
)
def test_broken_files_are_refused(base: BaseModel, name: str, content: bytes) -> None:
    with pytest.raises(MalformedAdapter):
        built(base, make_version(base, KEY) | {name: content})


def test_merging_nothing_shares_everything(base: BaseModel) -> None:
    merged = merge(base.encoder, {}, 1.0)
    assert all(
        a.data_ptr() == b.data_ptr()
        for a, b in zip(merged.parameters(), base.encoder.parameters(), strict=True)
    )
