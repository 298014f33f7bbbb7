from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from workers.gate.evidence import Update
from workers.gate.soundness import MIN_ACCEPTED, update
from workers.gate.verdict import Result

NORMS = (1.0, 1.1, 0.9, 1.05, 0.95)
COSINES = (0.1, 0.0, 0.05, -0.05, 0.1)


def changed(norm: float, cosine: float = 0.0, n: int = 5) -> Update:
    return Update(norm=norm, cosine=cosine, accepted_norms=NORMS[:n], accepted_cosines=COSINES[:n])


@pytest.mark.parametrize("norm", [0.1, 1.0, 2.0])
def test_a_change_like_the_others_passes(norm: float) -> None:
    assert update(changed(norm)).result is Result.PASS


def test_a_change_far_larger_fails() -> None:
    found = update(changed(3.0))
    assert found.result is Result.FAIL
    assert found.limit == pytest.approx(math.exp(3 * 0.25))  # median 1, spread at its least


def test_a_change_against_the_direction_of_the_others_fails() -> None:
    assert update(changed(1.0, cosine=-0.2)).result is Result.PASS
    found = update(changed(1.0, cosine=-0.9))
    assert found.result is Result.FAIL
    assert "cosine -0.90" in found.detail


def test_the_spread_of_the_accepted_counts_where_it_is_wide() -> None:
    wide = Update(norm=20.0, cosine=0.0, accepted_norms=(0.1, 0.5, 1.0, 2.0, 10.0), accepted_cosines=COSINES)
    assert update(wide).result is Result.PASS


@pytest.mark.parametrize("n", range(MIN_ACCEPTED))
def test_few_accepted_changes_pass_with_a_note(n: int) -> None:
    found = update(changed(50.0, n=n))
    assert found.result is Result.PASS
    assert found.detail == f"not held: {n} accepted changes to compare with"


def test_an_encoder_that_did_not_change_is_not_judged() -> None:
    assert "unchanged" in update(changed(0.0, cosine=-1.0)).detail


def test_a_change_like_the_accepted_rarely_stands_out() -> None:
    """Norms that differ by a factor of 1.3 or so (log-normal), ten accepted: at most 5 % of new ones fail."""
    rng = np.random.default_rng(11)
    draws, failed = 400, 0
    for _ in range(draws):
        norms = np.exp(rng.normal(0.0, 0.25, size=11))
        found = Update(
            norm=float(norms[0]), cosine=0.0, accepted_norms=tuple(norms[1:]), accepted_cosines=(0.0,) * 10
        )
        failed += update(found).result is Result.FAIL
    assert failed <= binom.ppf(0.999, draws, 0.05)
