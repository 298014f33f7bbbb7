"""`trimtab replay`: address and model are tried before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.calls import Trimtab


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    rows = [{"text": f"good film {i}", "label": "positive"} for i in range(500)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_an_address_where_nobody_answers_ends_it_at_once(trimtab: Trimtab, data: Path) -> None:
    outcome = trimtab("replay", "toy", "--data", data, "--url", "http://127.0.0.1:9")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("trimtab: nothing was sent to http://127.0.0.1:9: ")
    assert "is `trimtab up` running" in outcome.err
