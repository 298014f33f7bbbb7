"""A class that the champion does not know: its head with one more row for each, before anything is learnt of it.

The new row is the mean of the others, and its bias is theirs plus the logarithm of the class's share (zero and the log
share, where the rows sum to zero). So its logit is the mean of the others' less something, never the largest: the
extended champion answers as it served, and what is trained starts there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from safetensors.torch import save
from torch import Tensor

from trimtab.adapter import HEAD, REMEDY
from trimtab.bundle import Remedy
from workers.evaluate import Answers
from workers.objectives.supervised import log_prior
from workers.workshop import LoadedVersion


def with_classes(champion: LoadedVersion, labels: tuple[str, ...], counts: Sequence[int]) -> LoadedVersion:
    """The champion with these classes, which begin with its own; itself where it knows them all.

    Args:
        labels: k names.
        counts: k numbers of labelled rows to train on.
    """
    bundle, known = champion.bundle, len(champion.bundle.labels)
    if known == len(labels):
        return champion
    shares = log_prior(counts)[known:].to(bundle.head_bias.device)
    weight = torch.cat([bundle.head_weight, bundle.head_weight.mean(dim=0).expand(len(shares), -1)])
    bias = torch.cat([bundle.head_bias, bundle.head_bias.mean() + shares])
    remedy = _extended(bundle.remedy, len(shares))
    files = {**champion.files, HEAD: _head(weight, bias), REMEDY: remedy.to_bytes()}
    wider = replace(bundle, labels=labels, head_weight=weight, head_bias=bias, remedy=remedy)
    return replace(champion, files=files, answers=Answers(wider, champion.answers))


def _head(weight: Tensor, bias: Tensor) -> bytes:
    return save({"weight": weight.cpu().contiguous(), "bias": bias.cpu().contiguous()})


def _extended(remedy: Remedy, n: int) -> Remedy:
    """What it adds to the logits, with the mean for each of n more classes."""
    return replace(
        remedy,
        log_prior=None if remedy.log_prior is None else _with_means(remedy.log_prior, n),
        shifts={domain: _with_means(row, n) for domain, row in remedy.shifts.items()},
    )


def _with_means(row: tuple[float, ...], n: int) -> tuple[float, ...]:
    return row + (sum(row) / len(row),) * n
