from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from tests.workers.gate.test_judge import pair
from trimtab.settings import GateSettings
from trimtab.stats.tango import score
from workers.gate.paired import gain
from workers.gate.verdict import Result
from workers.gate.wear import level, told, wear

LOOKS = tuple(round(100 * 1.5**k) for k in range(12))  # labels that there are at each
STRICT = GateSettings(min_gain=0.0)  # nothing but the test stands in the way


@pytest.mark.parametrize(("uses", "result"), [(0, Result.PASS), (19, Result.PASS), (20, Result.INSUFFICIENT)])
def test_a_set_serves_twenty_times(uses: int, result: Result) -> None:
    found = wear("film", uses, GateSettings())
    assert (found.name, found.kind, found.result, found.value) == ("use:film", "use", result, float(uses))


def test_a_worn_set_says_what_renews_it() -> None:
    assert "labels of 'film', asked for at random" in wear("film", 3, GateSettings(max_uses=3)).detail


def test_every_look_is_at_half_the_level_of_the_one_before() -> None:
    assert [level(0.05, looks) for looks in (None, 0, 1, 2)] == [0.05, 0.05, 0.025, 0.0125]
    assert sum(level(0.05, looks) for looks in range(40)) < 2 * 0.05


def test_what_is_said_of_it() -> None:
    assert (told(None, 0.05), told(0, 0.05)) == ("", "")
    assert told(1, 0.025) == "; 1 earlier job tested these labels: level 0.025"
    assert told(3, 0.00625) == "; 3 earlier jobs tested these labels: level 0.00625"


def test_the_gain_is_tested_at_the_level_that_is_left() -> None:
    """17 gained and 6 lost: p is .011."""
    found = [gain(pair(200, 6, 17), STRICT, looks) for looks in range(4)]
    assert [each.result is Result.PASS for each in found] == [True, True, True, False]
    assert [each.level for each in found] == [level(STRICT.alpha, looks) for looks in range(4)]
    bounds = [each.bound or 0.0 for each in found]
    assert bounds == sorted(bounds, reverse=True)


def test_a_candidate_without_a_gain_is_promoted_as_rarely_as_is_said_however_often_one_looks() -> None:
    """3,000 useless candidates, of which one answer in ten differs, looked at twelve times while labels come."""
    n, random = 3000, np.random.default_rng(11)
    lost, gained = (
        np.cumsum(random.binomial(np.diff((0, *LOOKS)), 0.05, size=(n, len(LOOKS))), axis=1).astype(float)
        for _ in range(2)
    )
    z = np.stack([score(lost[:, k], gained[:, k], labels, 0.0) for k, labels in enumerate(LOOKS)])
    at = norm.isf([[level(STRICT.alpha, looks)] for looks in range(len(LOOKS))])
    allowed = binom.ppf(0.999, n, 2 * STRICT.alpha)
    assert (z < -at).any(axis=0).sum() <= allowed
    assert (z < -norm.isf(STRICT.alpha)).any(axis=0).sum() > allowed
