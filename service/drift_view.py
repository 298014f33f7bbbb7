"""A drift report as people read it: with the texts behind its ids, as far as the ledger still keeps them.

A report itself holds no text, so what retention removed or a person had deleted is gone from every report, too.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from trimtab.ledger.examples import texts_of_keys
from trimtab.ledger.samples import get_predictions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from trimtab.drift import DriftReport, Explanation


def brief_report(report: DriftReport) -> dict[str, Any]:
    """Everything but the evidence, as plain JSON."""
    return plain_report(report) | {"evidence": None}


def full_report(tx: Connection, report: DriftReport) -> dict[str, Any]:
    """Everything, with the texts of the typical new inputs and of the nearest old ones (None: no longer kept)."""
    plain = plain_report(report)
    if report.evidence is not None:
        plain["evidence"] |= _examples(tx, report.model, report.evidence)
    if report.kind is not None:
        plain |= {"kind_meaning": report.kind.meaning, "kind_action": report.kind.action}
    return plain


def plain_report(report: DriftReport) -> dict[str, Any]:
    """Members as JSON knows them; what is no number (of a model that answers NaN) becomes None."""
    plain: dict[str, Any] = _finite(json.loads(json.dumps(asdict(report))))
    return plain


def _examples(tx: Connection, model: str, evidence: Explanation) -> dict[str, Any]:
    kept = get_predictions(tx, evidence.typical_new)
    old = texts_of_keys(tx, model, evidence.nearest_old)
    new = [
        {"prediction_id": each, **_said(kept[each])} if each in kept else {"prediction_id": each}
        for each in evidence.typical_new
    ]
    return {
        "typical_new": new,
        "nearest_old": [{"key": key, "text": old.get(key)} for key in evidence.nearest_old],
    }


def _said(prediction: Any) -> dict[str, Any]:
    return {name: getattr(prediction, name) for name in ("text", "label", "score", "domain", "client")}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
