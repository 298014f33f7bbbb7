from __future__ import annotations

import stat
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.store import CheckpointStore
from workers.checkpoints import Checkpoints, Snapshot

KEY = Ed25519PrivateKey.generate()
JOB, FIT = "a" * 32, "b" * 64


def snapshot(step: int = 3) -> Snapshot:
    tensors = {"weight.x": torch.arange(6.0).reshape(2, 3), "mean.x": torch.zeros(4)}
    return Snapshot({"step": step, "seconds": 0.1 + 0.2, "measured": [1.5]}, tensors)


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(CheckpointStore(tmp_path.as_uri()), JOB, KEY)


def test_what_was_saved_is_loaded(kept: Checkpoints) -> None:
    assert kept.load(FIT) is None
    kept.save(FIT, snapshot(3))
    kept.save(FIT, snapshot(4))
    found = kept.load(FIT)
    assert found is not None
    assert found.facts == snapshot(4).facts
    assert found.tensors.keys() == snapshot().tensors.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in snapshot().tensors.items())


def test_another_fit_and_another_job_have_their_own(kept: Checkpoints) -> None:
    kept.save(FIT, snapshot())
    assert kept.load("c" * 64) is None
    assert Checkpoints(kept.store, "d" * 32, KEY).load(FIT) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_torn_or_changed_one_is_refused(place: int, by: int) -> None:
    content = bytearray(snapshot().to_bytes(KEY))
    content[place % len(content)] ^= by
    with pytest.raises(ValueError, match="checkpoint"):
        Snapshot.from_bytes(bytes(content), KEY)
    with pytest.raises(ValueError, match="checkpoint"):
        Snapshot.from_bytes(snapshot().to_bytes(KEY)[: place % len(content)], KEY)


def test_one_that_somebody_else_signed_is_left_aside(kept: Checkpoints) -> None:
    Checkpoints(kept.store, JOB, Ed25519PrivateKey.generate()).save(FIT, snapshot())
    assert kept.load(FIT) is None


def test_a_store_that_is_away_ends_no_training(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    kept = Checkpoints(CheckpointStore(folder.as_uri()), JOB, KEY)
    folder.rmdir()
    folder.write_text("no directory")
    kept.save(FIT, snapshot())
    assert stat.S_ISREG(folder.stat().st_mode)
