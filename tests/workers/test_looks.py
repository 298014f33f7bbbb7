"""Labels of a window that judge again, in a later job, count how often they have judged. For real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import MODEL, ToyShop, toy_shop
from trimtab.drift import DriftKind
from trimtab.jobs import JobStatus
from trimtab.ledger import jobs
from trimtab.settings import GateSettings
from workers.adapt import run_adaptation

ALPHA = GateSettings().alpha


def gain_of(toy: ToyShop, from_seq: int) -> dict[str, Any]:
    """The gain test of a job over the window that begins there; its gate holds whatever it is shown."""
    with toy.ledger.begin() as tx:
        cause = {"kind": "drift", "drift": DriftKind.COVARIATE_HARMFUL, "method": "head"}
        job = jobs.open_job(tx, MODEL, cause=cause, domain="", window_from_seq=from_seq)
    assert run_adaptation(toy.shop, toy.claim(job)) in {JobStatus.HELD, JobStatus.REJECTED}
    verdict = toy.job(job.id).verdict
    assert verdict is not None
    return next(check for check in verdict["checks"] if check["name"].startswith("gain:"))


def test_the_same_labels_are_asked_at_half_the_level_each_time(tmp_path: Path, tiny_base_dir: Path) -> None:
    with toy_shop(tmp_path, tiny_base_dir, gate=GateSettings(max_forgetting=0.1, mode="hold")) as toy:
        toy.create_first()
        first_seq = toy.stream(toy_rows("shop", 400))
        first = gain_of(toy, first_seq)
        assert (first["looks"], first["level"]) == (0, ALPHA)
        toy.stream(toy_rows("shop", 80, seed=41), name="asked")
        second, third = gain_of(toy, first_seq), gain_of(toy, first_seq + 50)
        assert [(each["looks"], each["level"]) for each in (second, third)] == [
            (1, pytest.approx(ALPHA / 2)),
            (2, pytest.approx(ALPHA / 4)),
        ]
        assert second["n"] > first["n"]
        assert "1 earlier job tested these labels: level 0.025" in second["detail"]
        later = toy.stream(toy_rows("shop", 400, seed=42), name="later")
        assert gain_of(toy, later)["looks"] == 0
