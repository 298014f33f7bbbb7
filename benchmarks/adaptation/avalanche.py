"""The same stream through Avalanche's replay, as a peer, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.adaptation.data import Domain, Study
from benchmarks.serving.environments import PeerMissing, python_with
from trimtab.adapter import CONFIG, HEAD, WEIGHTS
from trimtab.base import BaseModel

# torchvision for the torch that is ours: a newer one would bring a torch of its own, with gigabytes of CUDA.
REQUIREMENTS = ("avalanche-lib==0.6.0", "torchvision==0.28.0", "torch==2.13.0")
SIDE = Path(__file__).with_name("avalanche_side.py")
MAX_TOKENS = 128


def through_avalanche(
    base: BaseModel,
    files: Mapping[str, bytes],
    domains: Sequence[Domain],
    study: Study,
    seed: int,
    folder: Path,
) -> list[dict[str, Any]]:
    """By new domain {"cpu_s", "predicted": {domain: (n,) labels}}, from the source version on.

    Args:
        files: The source version.
        domains: In the order of the stream, the source first.
        folder: Where the peer's environment is kept.

    Raises:
        PeerMissing: it does not install, or it failed; the message says how.
    """
    python = python_with(REQUIREMENTS, folder)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for each in (WEIGHTS, CONFIG, HEAD):
            (directory / each).write_bytes(files[each])
        question = asked(base, domains, study, seed)
        (directory / "question.json").write_text(json.dumps(question), encoding="utf-8")
        # -P: the folder of the script holds a module that is called like the peer
        done = subprocess.run(
            [str(python), "-P", str(SIDE), name],
            env={**os.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise PeerMissing(f"Avalanche failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        answers: list[dict[str, Any]] = json.loads((directory / "answers.json").read_text(encoding="utf-8"))
        return answers


def asked(base: BaseModel, domains: Sequence[Domain], study: Study, seed: int) -> dict[str, Any]:
    """The peer's question: texts as token ids, so that it needs no tokenizer."""
    return {
        "base": study.base,
        "epochs": study.epochs,
        "seed": seed,
        "exemplars": study.memory // len(domains),
        "pad": base.pad_id,
        "domains": [
            {"ids": base.encode(each.train.texts, MAX_TOKENS), "labels": each.train.labels.tolist()}
            for each in domains
        ],
        "tests": {each.name: base.encode(each.test.texts, MAX_TOKENS) for each in domains},
    }
