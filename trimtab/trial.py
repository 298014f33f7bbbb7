"""A candidate on trial: on real traffic before it serves, first unseen, then for a share of the clients. Pure data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

CHALLENGER = "challenger"  # the alias of a version on trial


class TrialMode(StrEnum):
    """How far candidates are tried: not at all, unseen only, or then by a share of the clients as well."""

    OFF = "off"
    SHADOW = "shadow"
    CANARY = "canary"


class Stage(StrEnum):
    """Where a trial stands; `meaning` is the sentence shown to people."""

    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    ABANDONED = "abandoned"

    @property
    def final(self) -> bool:
        """Whether the trial is over."""
        return self in {Stage.PROMOTED, Stage.REJECTED, Stage.ABANDONED}

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return _MEANINGS[self]


_MEANINGS = {
    Stage.SHADOW: "It answers beside the champion, and nobody sees its answers.",
    Stage.CANARY: "It answers a share of the clients.",
    Stage.PROMOTED: "It held on real traffic and was made champion.",
    Stage.REJECTED: "It did not hold on real traffic.",
    Stage.ABANDONED: "It was ended without a conclusion; `reason` says why.",
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The trial of one version of one model.

    Attributes:
        model, version: What is tried. It is the model's alias `challenger` meanwhile.
        champion: The version that it is held against; with another champion the trial is over.
        job_id: The job that made it, which is `on_trial` meanwhile; None when no job did.
        stage: See `Stage`.
        share: Of the clients that it answers; 0 while it is unseen.
        first_seq, from_seq: Newest prediction's sequence number when the trial and when the stage began.
        started_at, stage_at, ended_at: Epoch seconds of the database's clock.
        reason: One line for people: why it stands where it stands.
        evidence: What was last seen, in plain JSON.
    """

    model: str
    version: int
    champion: int
    job_id: str | None
    stage: Stage
    share: float
    from_seq: int
    started_at: float
    stage_at: float
    ended_at: float | None = None
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    first_seq: int = 0

    @property
    def salt(self) -> str:
        """What `answers` mixes into a client's name: each trial draws other clients."""
        return f"{self.model}/{self.version}"


def answers(share: float, salt: str, client: str) -> bool:
    """Whether the challenger answers this client: the same on every replica, and a client that is in stays in.

    Sticky by a hash, as rendezvous without a list: a uniform number in [0, 1) from salt and client is below the share.
    """
    digest = hashlib.blake2b(f"{salt}\0{client}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < share
