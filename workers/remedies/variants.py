"""Candidates that share the champion's encoder: another remedy on its logits, or another head on its states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import save

from trimtab.adapter import BOUND_FILES, HEAD, REMEDY
from trimtab.bundle import ModelBundle, Remedy
from trimtab.features import Floats
from workers.artefact import Candidate
from workers.evaluate import Answers
from workers.task import Task


def as_it_is(task: Task) -> Candidate:
    """The champion."""
    bundle = replace(task.champion.bundle, version=task.version, digest="")
    return Candidate(_files(task, {}), Answers(bundle, task.champion.answers))


def with_remedy(task: Task, remedy: Remedy) -> Candidate:
    """The champion with another remedy."""
    bundle = replace(task.champion.bundle, version=task.version, digest="", remedy=remedy)
    return Candidate(_files(task, {REMEDY: remedy.to_bytes()}), Answers(bundle, task.champion.answers))


def with_head(task: Task, weight: Floats, bias: Floats) -> Candidate:
    """The champion with another head, (k, h) weight and (k,) bias, and no remedy: a new head needs none yet."""
    tensors = {"weight": torch.from_numpy(weight.copy()), "bias": torch.from_numpy(bias.copy())}
    device = task.champion.bundle.head_weight.device
    bundle: ModelBundle = replace(
        task.champion.bundle,
        version=task.version,
        digest="",
        remedy=Remedy(),
        head_weight=tensors["weight"].to(device),
        head_bias=tensors["bias"].to(device),
    )
    files = _files(task, {HEAD: save(tensors), REMEDY: Remedy().to_bytes()})
    return Candidate(files, Answers(bundle, task.champion.answers))


def head_of(task: Task) -> tuple[Floats, Floats]:
    """The champion's (k, h) weight and (k,) bias."""
    bundle = task.champion.bundle
    return np.asarray(bundle.head_weight.cpu().numpy()), np.asarray(bundle.head_bias.cpu().numpy())


def _files(task: Task, changed: Mapping[str, bytes]) -> dict[str, bytes]:
    """The champion's bound files with some exchanged; manifest and signature are the sealed version's own."""
    return {name: task.champion.files[name] for name in BOUND_FILES} | dict(changed)
