"""What a check says, and what all of them together say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

# Kinds of checks that only guard: they reject where harm is shown, and too little data for that holds nothing up.
GUARDS = frozenset({"update", "calibration", "likelihood", "flips", "slices"})
DATA = "data"  # kind of the checks of the training rows


class Result(StrEnum):
    """Outcome of a check."""

    PASS = "pass"  # noqa: S105  # not a password
    FAIL = "fail"
    INSUFFICIENT = "insufficient_data"


class Decision(StrEnum):
    """Outcome of the gate."""

    PROMOTE = "promote"
    REJECT = "reject"
    HOLD = "hold"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: `value` is held against `limit`; for tests `bound` is the confidence bound that decides.

    against, before, after: of a paired test, the other version and the accuracies of both.
    discordance: of a gain test, the share of examples on which just one of the two is right.
    more_labels: how many more labels would decide, at what the test estimates now; None where that cannot be said.
    looks, level: of a test on labels of the window: earlier jobs that tested them, and the level that is left.
    """

    name: str
    result: Result
    value: float | None
    limit: float
    bound: float | None = None
    n: int | None = None
    power: float | None = None
    detail: str = ""
    against: str | None = None
    before: float | None = None
    after: float | None = None
    discordance: float | None = None
    more_labels: int | None = None
    looks: int | None = None
    level: float | None = None

    @property
    def kind(self) -> str:
        """The name without the domain."""
        return self.name.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The gate's word, with every check."""

    decision: Decision
    reason: str
    checks: tuple[Check, ...]

    @property
    def unfit(self) -> tuple[Check, ...]:
        """What speaks against learning from the training rows."""
        return tuple(check for check in self.checks if check.kind == DATA and check.result is not Result.PASS)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON object, as in gate.json and the job's verdict."""
        return {
            "verdict": self.decision.value,
            "reason": self.reason,
            "checks": [asdict(c) for c in self.checks],
        }


def decide(checks: Sequence[Check]) -> tuple[Decision, str]:
    """The decision and its reason in words."""
    failed = [check for check in checks if check.result is Result.FAIL]
    waiting = [check for check in checks if check.result is Result.INSUFFICIENT and check.kind not in GUARDS]
    for found, decision in ((failed, Decision.REJECT), (waiting, Decision.HOLD)):
        if found:
            return decision, in_words(found)
    return Decision.PROMOTE, "every check passed"


def in_words(checks: Sequence[Check]) -> str:
    """What these checks say."""
    return "; ".join(f"{check.name}: {check.detail}" for check in checks)


def passed(sound: bool) -> Result:
    """Pass or fail, for what needs no data."""
    return Result.PASS if sound else Result.FAIL


def not_passed(*, shown: bool) -> Result:
    """A test that is not passed fails only where the data show that it should; else more labels would decide."""
    return Result.FAIL if shown else Result.INSUFFICIENT
