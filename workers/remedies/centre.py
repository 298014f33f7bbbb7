"""Re-centring a domain: one subtraction per named domain, learnt without labels.

The head is linear, so moving the states of a domain by m - m_d (its mean to the mean of what the head was trained on)
adds W (m - m_d) to its logits. The mean is shrunk by n / (n + 200). It removes what all texts of a domain have in
common; it also removes a true difference of the classes' shares, which is why rivals are compared on labels.
Needs clients that name the domain: else nothing tells which texts to move.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trimtab.features import Floats
from workers.remedies.variants import head_of, with_remedy
from workers.task import Declined, Proposal, Task

NAME = "centre"
MIN_TEXTS = 50
SHRINK = 200
MAX_DOMAINS = 32


def propose_centre(task: Task) -> Proposal | Declined:
    """The champion with the domain's mean state moved to that of its exemplars."""
    remedy = task.champion.bundle.remedy
    texts = task.window_texts
    if not task.named:
        return Declined(NAME, "clients do not name the domain: nothing tells which texts to move")
    if min(len(texts), len(task.replay.texts)) < MIN_TEXTS:
        return Declined(
            NAME, f"{len(texts)} texts and {len(task.replay.texts)} exemplars are too few for a mean"
        )
    if len(remedy.shifts.keys() | {task.domain}) > MAX_DOMAINS:
        return Declined(NAME, f"{MAX_DOMAINS} domains are centred already")
    shift = shift_of(task)
    moved = replace(remedy, shifts={**remedy.shifts, task.domain: tuple(map(float, shift))})
    return Proposal(
        name=NAME,
        candidate=with_remedy(task, moved),
        cost=2,
        reason=f"the mean state of {task.domain!r} ({len(texts)} texts) is moved to that of the exemplars",
        details={"shift": shift.tolist(), "n": len(texts)},
    )


def shift_of(task: Task) -> Floats:
    """(k,) what is added to the domain's logits: W (m - m_d), shrunk by n / (n + 200)."""
    answers = task.champion.answers
    texts = task.window_texts
    before = answers.outputs(task.replay.texts).pooled.mean(axis=0)
    after = answers.outputs(texts).pooled.mean(axis=0)
    weight, _ = head_of(task)
    return np.asarray(weight @ (before - after) * (len(texts) / (len(texts) + SHRINK)), dtype=np.float32)
