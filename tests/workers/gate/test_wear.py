from __future__ import annotations

import pytest

from trimtab.settings import GateSettings
from workers.gate.verdict import Result
from workers.gate.wear import wear


@pytest.mark.parametrize(("uses", "result"), [(0, Result.PASS), (19, Result.PASS), (20, Result.INSUFFICIENT)])
def test_a_set_serves_twenty_times(uses: int, result: Result) -> None:
    found = wear("film", uses, GateSettings())
    assert (found.name, found.kind, found.result, found.value) == ("use:film", "use", result, float(uses))


def test_a_worn_set_says_what_renews_it() -> None:
    assert "labels of 'film', asked for at random" in wear("film", 3, GateSettings(max_uses=3)).detail
