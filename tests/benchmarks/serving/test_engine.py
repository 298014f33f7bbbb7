"""The engine's part: operations by hand, padding, rates, and the comparison with the padded module on a tiny model."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.serving.engine import (
    EngineRound,
    cpu_of,
    flops,
    largest_difference,
    measure_engine,
    padded_share,
    sgemm_gflops,
    summarise,
)
from benchmarks.serving.over_http import Machine, _engine_cell
from benchmarks.serving.peers.classifier import Classifier
from benchmarks.serving.precision import measure_int8
from benchmarks.serving.report import engine_section
from benchmarks.serving.versions import export
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.versions import make_version
from trimtab.adapter import verify
from trimtab.base import load_base
from trimtab.bundle import ModelBundle, build_bundle
from trimtab.settings import ServerSettings

ROWS = toy_rows("film", 96)
TEXTS = [row.text for row in ROWS]


@pytest.fixture(scope="module")
def bundle(tiny_base_dir: Path) -> ModelBundle:
    base, key = load_base(str(tiny_base_dir), "cpu"), Ed25519PrivateKey.generate()
    files = make_version(base, key)
    manifest = verify(files, key.public_key())
    return build_bundle(base, files, manifest=manifest, digest="", max_tokens=ServerSettings().max_tokens)


@pytest.fixture(scope="module")
def classify(bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(export(bundle, tmp_path_factory.mktemp("checkpoint")))


def test_the_exported_checkpoint_answers_as_the_version(bundle: ModelBundle, classify: Classifier) -> None:
    assert largest_difference(bundle, classify, TEXTS) <= 1e-5
    scores = bundle.probabilities(bundle.predict(TEXTS).logits)
    assert np.abs(np.array(classify(TEXTS)) - scores).max() <= 1e-5


def test_another_versions_checkpoint_does_not(
    bundle: ModelBundle, classify: Classifier, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    files = make_version(bundle.base, key, seed=5)
    other = build_bundle(
        bundle.base, files, manifest=verify(files, key.public_key()), digest="", max_tokens=128
    )
    assert largest_difference(other, classify, TEXTS) > 1e-2


def test_operations_of_a_tiny_bert_by_hand(bundle: ModelBundle) -> None:
    """Two layers, width 32, 64 within: 4 x 32 x 32 + 2 x 32 x 64 weights a layer; the pooler does not count."""
    per_token = 2 * 2 * (4 * 32 * 32 + 2 * 32 * 64)
    attention = 2 * 2 * 2 * 32
    expected = per_token * (5 + 7) + attention * (5**2 + 7**2)
    assert flops(bundle.base.encoder, [5, 7]) == expected


def test_padding_is_what_is_not_text() -> None:
    assert padded_share([10] * 64) == 0.0
    assert padded_share([1, 3]) == pytest.approx(2 / 6)
    # Batches of 32 are padded each by itself.
    assert padded_share([2] * 32 + [8] * 32) == 0.0


def test_cpu_time_is_that_of_the_call_not_of_the_clock() -> None:
    assert cpu_of(lambda: [sum(range(1000)) for _ in range(2000)]) > 0.005
    started = time.process_time()
    used = cpu_of(lambda: None)
    assert 0 <= used <= time.process_time() - started


def test_products_are_measured_by_both_libraries(bundle: ModelBundle) -> None:
    torch.set_num_threads(1)
    rates = sgemm_gflops(bundle.base.encoder, 96, seconds=0.001)
    assert {name.split(" ")[0] for name in rates} == {"96x32x32", "96x32x64", "96x64x32", "1024x1024x1024"}
    assert {name.split(" ")[1] for name in rates} == {"BLAS", "oneDNN"}
    assert all(0 < rate < 1e5 for rate in rates.values())


def test_rounds_become_a_result(bundle: ModelBundle, classify: Classifier) -> None:
    rounds = list(measure_engine(bundle, classify, TEXTS, 2))
    assert len(rounds) == 2
    result = summarise(bundle, classify, TEXTS, rounds)
    assert result.largest_difference <= 1e-5
    assert result.padding == padded_share([len(ids) for ids in bundle.base.encode(TEXTS, bundle.max_tokens)])
    assert 0 < result.share_of_limit.value <= result.share_of_shapes.value
    text = engine_section(result)
    assert "engine over eager" in text
    assert "GFLOP/s" in text


def test_shares_and_ratios_are_those_of_the_rounds(bundle: ModelBundle, classify: Classifier) -> None:
    """Rates chosen so that everything would take 1 s at the limit."""
    operations = flops(
        bundle.base.encoder, [len(ids) for ids in bundle.base.encode(TEXTS, bundle.max_tokens)]
    )
    shapes = {"32x32", "32x64", "64x32", "1024x1024"}
    rates = {f"9x{shape} BLAS": operations / 1e9 for shape in shapes}
    result = summarise(bundle, classify, TEXTS, [EngineRound(5.0, 2.0, 3.0, 2.0, rates)] * 9)
    assert result.speedup.value == 2.5
    assert result.single_speedup.value == 1.5
    assert result.limit_per_s.value == pytest.approx(len(TEXTS))
    assert result.share_of_limit.value == pytest.approx(0.5)
    assert result.share_of_shapes.value == pytest.approx(0.5)


def test_the_engine_alone_is_timed_in_its_batches(bundle: ModelBundle) -> None:
    machine = Machine.split(0)
    cell = _engine_cell(bundle, TEXTS, machine, number=3, batch=8, seconds=0.02)
    assert (cell.round, cell.batch) == (3, 8)
    assert cell.cpu_ms > 0


def test_int8_is_held_against_labels(bundle: ModelBundle) -> None:
    found = measure_int8(bundle, ROWS, 2)
    assert found.n == len(ROWS)
    assert found.accuracy_lost.value == pytest.approx(found.accuracy_fp32 - found.accuracy_int8)
    assert found.n_differ >= abs(round(found.n * found.accuracy_lost.value))
    assert 0 < found.largest_difference < 1
