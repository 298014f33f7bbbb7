"""What is wrong with a candidate's files, before anything of them is believed."""

from __future__ import annotations

import json
from collections.abc import Mapping

from torch import nn

from trimtab.adapter import BOUND_FILES, CONFIG, HEAD, WEIGHTS
from trimtab.base import BaseModel
from trimtab.bundle import lora_pairs, lora_scaling, read_tensors, trained_on
from trimtab.errors import MalformedAdapter

MAX_RANK = 64


def problems_of(files: Mapping[str, bytes], base: BaseModel, base_digest: str) -> tuple[str, ...]:
    """What is wrong, in words; nothing for sound files.

    Names beyond those of a version (safetensors and JSON only), another base, variants of LoRA that are not served, a
    rank above 64, layers that the base does not have, tensors that cannot be read or are not finite.

    Args:
        base: What the candidate was made on.
        base_digest: Of the base that the model is registered with.
    """
    found = [f"{name} is not a file of a version" for name in sorted(files.keys() - set(BOUND_FILES))]
    found += [f"{name} is missing" for name in BOUND_FILES if name not in files]
    if base.digest != base_digest:
        found.append(f"made on a base with digest {base.digest[:16]}, the model's has {base_digest[:16]}")
    try:
        found += _of_adapter(files, base)
        read_tensors(files[HEAD], HEAD)
    except (MalformedAdapter, KeyError) as error:
        found.append(f"cannot be read: {error}")
    return tuple(found)


def _of_adapter(files: Mapping[str, bytes], base: BaseModel) -> list[str]:
    lora_scaling(files[CONFIG])
    learnt_on = trained_on(files[WEIGHTS])
    rank = int(json.loads(files[CONFIG])["r"])
    pairs = lora_pairs(read_tensors(files[WEIGHTS], WEIGHTS))
    known = {name for name, module in base.encoder.named_modules() if isinstance(module, nn.Linear)}
    unknown = sorted({name for name, *_ in pairs} - known)
    widest = max((len(down) for _, down, _ in pairs), default=rank)
    found = [f"the base has no linear layer {name}" for name in unknown[:1]]
    if learnt_on not in {None, base.digest}:
        found.append(
            f"its weights were trained on a base with digest {learnt_on[:16]}, not {base.digest[:16]}"
        )
    return found + [f"rank {n} is above {MAX_RANK}" for n in {max(rank, widest)} if n > MAX_RANK]
