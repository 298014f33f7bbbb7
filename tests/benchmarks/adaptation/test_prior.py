"""Prior correction on real text at a small scale: the whole path of the study."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.adaptation.prior import Corpus, Window, oracle_share, read_corpus, report, windows


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus(2600)


def test_a_strong_shift_of_real_text_is_repaired(corpus: Corpus) -> None:
    """Windows and tests of 333 texts, three splits: the goal is 90 % of the oracle's gain at 1,000; the band is that
    of 2,000 test answers, of which a sixth change (standard error one point on a gain of about 16: 6 % of it)."""
    found = [each for seed in range(3) for each in windows(corpus, seed, (0.1, 0.9), sizes=3)]
    assert all(each.proposed for each in found)
    assert np.mean([each.oracle - each.champion for each in found]) > 0.08
    assert oracle_share(found) > 0.9 - 2 * 0.06
    assert np.mean([each.corrected - each.champion for each in found]) > 0.06


def test_shares_as_before_are_left_alone_or_cost_nothing(corpus: Corpus) -> None:
    found = [each for seed in range(3) for each in windows(corpus, seed, (0.5,), sizes=3)]
    assert np.mean([each.corrected - each.champion for each in found]) > -0.02


def test_the_report_says_what_was_reached() -> None:
    rows = [Window(0, share, 0.7, 0.79, 0.8, 12.0, True) for share in (0.1, 0.9)]
    told = report(rows)
    assert "Strong shifts: 90.0% of the oracle-prior gain" in told
    assert "| 10% | 0.700 | 0.790 | 0.800 | 90% | 1 of 1 |" in told
    assert "median 12 ms" in told
