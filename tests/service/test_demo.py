"""The whole demo on real text and the real model: minutes; run it with `pytest -m demo`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.calls import Trimtab


@pytest.mark.demo
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_promise_holds(trimtab: Trimtab, tmp_path: Path, seed: int) -> None:
    outcome = trimtab("demo", "--seed", seed, "--json", tmp_path / "demo.json")
    document = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    assert {promise["name"] for promise in document["promises"] if not promise["held"]} == set()
    assert outcome.code == 0
