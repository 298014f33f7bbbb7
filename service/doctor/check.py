"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """`fail` does not work or will do harm; `warn` may be meant, and should be known."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what to do about it."""

    name: str
    verdict: Verdict
    detail: str
    advice: str = ""


def ok(name: str, detail: str) -> Check:
    """Nothing to do."""
    return Check(name, Verdict.OK, detail)


def warn(name: str, detail: str, advice: str) -> Check:
    """May be meant, and should be known."""
    return Check(name, Verdict.WARN, detail, advice)


def fail(name: str, detail: str, advice: str) -> Check:
    """Does not work, or will do harm."""
    return Check(name, Verdict.FAIL, detail, advice)
