"""How often a gate set decided: every decision tells a little of it, and versions are chosen by what it tells."""

from __future__ import annotations

from trimtab.settings import GateSettings
from workers.gate.verdict import Check, Result


def level(alpha: float, looks: int | None) -> float:
    """Of a test on labels that `looks` earlier jobs have tested: alpha / 2^looks.

    Over all looks, however many, that is alpha (1 + 1/2 + 1/4 + ...): below 2 alpha.
    """
    return alpha / 2.0 ** (looks or 0)


def told(looks: int | None, at: float) -> str:
    """How often the labels were tested before, and at which level they are now; nothing at the first time."""
    if not looks:
        return ""
    return f"; {looks} earlier job{'s' * (looks > 1)} tested these labels: level {at:.3g}"


def wear(domain: str, uses: int, settings: GateSettings) -> Check:
    """Holds once a set has decided `max_uses` times before: new randomly requested labels renew it.

    A test at level alpha that is asked often is passed by chance some time: after 20 candidates at the margin, one of
    them has passed on average. So a set serves that often, until it has doubled by new examples.
    """
    worn = uses >= settings.max_uses
    detail = f"the gate set has decided {uses} times"
    if worn:
        detail += f": labels of {domain!r}, asked for at random, as many as it has, renew it"
    return Check(
        name=f"use:{domain}",
        result=Result.INSUFFICIENT if worn else Result.PASS,
        value=float(uses),
        limit=float(settings.max_uses),
        detail=detail,
    )
