from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.torch import load, save

from tests.fixtures.tiny_base import build_tiny_base
from tests.fixtures.versions import make_version
from trimtab.adapter import BOUND_FILES, CONFIG, HEAD, WEIGHTS
from trimtab.base import BaseModel, load_base
from workers.classifier import TrainableClassifier
from workers.gate.files import problems_of


@pytest.fixture
def files(tiny_base: BaseModel) -> dict[str, bytes]:
    made = make_version(tiny_base, Ed25519PrivateKey.generate())
    return {name: made[name] for name in BOUND_FILES}


def test_sound_files_have_no_problem(tiny_base: BaseModel, files: dict[str, bytes]) -> None:
    assert problems_of(files, tiny_base, tiny_base.digest) == ()


def test_another_base_is_named(tiny_base: BaseModel, files: dict[str, bytes], tmp_path: Path) -> None:
    other = load_base(str(build_tiny_base(tmp_path, seed=5)), "cpu")
    (problem,) = problems_of(files, other, tiny_base.digest)
    assert other.digest[:16] in problem
    assert tiny_base.digest[:16] in problem


def test_a_file_too_many_and_one_too_few(tiny_base: BaseModel, files: dict[str, bytes]) -> None:
    del files[HEAD]
    files["weights.bin"] = b"pickle"
    problems = problems_of(files, tiny_base, tiny_base.digest)
    assert "weights.bin is not a file of a version" in problems
    assert f"{HEAD} is missing" in problems


@pytest.mark.parametrize("name", [WEIGHTS, HEAD])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite(
    tiny_base: BaseModel, files: dict[str, bytes], name: str, value: float
) -> None:
    tensors = load(files[name])
    next(iter(tensors.values())).view(-1)[1] = value
    files[name] = save(tensors)
    (problem,) = problems_of(files, tiny_base, tiny_base.digest)
    assert "not finite" in problem


@pytest.mark.parametrize(
    "change", [{"use_dora": True}, {"peft_type": "IA3"}, {"r": 65}, {"r": 0}, {"modules_to_save": ["head"]}]
)
def test_a_configuration_that_is_not_served(
    tiny_base: BaseModel, files: dict[str, bytes], change: dict[str, object]
) -> None:
    files[CONFIG] = json.dumps(json.loads(files[CONFIG]) | change).encode()
    assert problems_of(files, tiny_base, tiny_base.digest)


def test_a_rank_that_the_configuration_does_not_own_up_to(
    tiny_base: BaseModel, files: dict[str, bytes]
) -> None:
    name = "base_model.model.encoder.layer.0.attention.self.query.lora_{}.weight"
    files[WEIGHTS] = save({name.format("A"): torch.zeros(80, 32), name.format("B"): torch.zeros(32, 80)})
    assert problems_of(files, tiny_base, tiny_base.digest) == ("rank 80 is above 64",)


def test_a_layer_that_the_base_does_not_have(tiny_base: BaseModel, files: dict[str, bytes]) -> None:
    name = "base_model.model.nowhere.lora_{}.weight"
    files[WEIGHTS] = save({name.format("A"): torch.zeros(4, 32), name.format("B"): torch.zeros(32, 4)})
    assert problems_of(files, tiny_base, tiny_base.digest) == ("the base has no linear layer nowhere",)


def test_a_file_that_is_no_safetensors(tiny_base: BaseModel, files: dict[str, bytes]) -> None:
    files[WEIGHTS] = files[WEIGHTS][:100]
    (problem,) = problems_of(files, tiny_base, tiny_base.digest)
    assert WEIGHTS in problem


def test_weights_that_were_trained_elsewhere(
    tiny_base: BaseModel, files: dict[str, bytes], tmp_path: Path
) -> None:
    """The files say so themselves, whatever is claimed for them; an adapter that does not say it is let through."""
    other = load_base(str(build_tiny_base(tmp_path, seed=5)), "cpu")
    made = TrainableClassifier(other, 2, seed=1).files()
    (problem,) = problems_of(files | {WEIGHTS: made[WEIGHTS]}, tiny_base, tiny_base.digest)
    assert f"trained on a base with digest {other.digest[:16]}" in problem
    assert problems_of(files | {WEIGHTS: save(load(made[WEIGHTS]))}, tiny_base, tiny_base.digest) == ()
