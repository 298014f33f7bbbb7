"""The demo's own model: as fast as it goes, as small as it may be, and still itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.torch import load, save

from service.demo.model import packaged_model
from tests.fixtures.versions import make_version
from trimtab.adapter import MANIFEST, WEIGHTS, AdapterManifest
from trimtab.base import BaseModel, load_base
from trimtab.bundle import PROBE_TEXTS, ModelBundle, at_precision, build_bundle
from trimtab.kernels import Reducer
from trimtab.packing import mean_pool

KEY = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def base() -> BaseModel:
    return load_base(str(packaged_model()), "cpu")


@pytest.fixture(scope="module")
def bundle(base: BaseModel) -> ModelBundle:
    """Adapted at query and value, by as much as training does."""
    files = make_version(base, KEY)
    lora = {k: 0.02 * v for k, v in load(files[WEIGHTS]).items() if ".query." in k or ".value." in k}
    manifest = AdapterManifest.from_bytes(files[MANIFEST])
    return build_bundle(base, files | {WEIGHTS: save(lora)}, manifest=manifest, digest="")


def test_it_runs_packed_and_gives_its_padded_logits(base: BaseModel, bundle: ModelBundle) -> None:
    assert base.runner.first_position == 0
    merged: dict[str, torch.Tensor] = dict(bundle.encoder.named_parameters())
    tokens = base.pad(base.encode(PROBE_TEXTS, 128))
    with torch.inference_mode():
        hidden = torch.func.functional_call(
            base.encoder, merged, (), {"input_ids": tokens.ids, "attention_mask": tokens.mask}
        ).last_hidden_state
        expected = torch.nn.functional.linear(
            mean_pool(hidden, tokens.mask), bundle.head_weight, bundle.head_bias
        )
    assert np.abs(bundle.predict(PROBE_TEXTS).logits - expected.numpy()).max() <= 1e-5


def test_a_version_costs_at_most_ten_megabytes(bundle: ModelBundle) -> None:
    assert bundle.own_bytes == 12 * 384 * 384 * 4  # six layers, two square matrices each
    assert bundle.own_bytes <= 10_000_000


def test_int8_keeps_the_states_and_a_quarter_of_the_memory(base: BaseModel, bundle: ModelBundle) -> None:
    """States lie on average within 4 degrees of the fp32 ones."""
    reduced = at_precision(bundle, Reducer(base.encoder, "int8", base.device))
    assert reduced.own_bytes <= 0.27 * bundle.own_bytes
    full, whole = (each.predict(PROBE_TEXTS).pooled for each in (bundle, reduced))
    cosine = (full * whole).sum(axis=1) / np.linalg.norm(full, axis=1) / np.linalg.norm(whole, axis=1)
    assert cosine.mean() > 0.9975
