"""Runs over processes come back in their order."""

from __future__ import annotations

from functools import partial

import pytest

from benchmarks.drift.bounds import Bound
from benchmarks.drift.workers import run_all


def test_records_keep_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    found = run_all("powers", partial(pow, 2), 5, processes=2)  # type: ignore[arg-type]
    assert found == [1, 2, 4, 8, 16]
    assert "powers: 5/5" in capsys.readouterr().out


def test_an_error_in_a_run_is_not_swallowed() -> None:
    with pytest.raises(TypeError):
        run_all("broken", Bound, 2, processes=1)  # type: ignore[arg-type]
