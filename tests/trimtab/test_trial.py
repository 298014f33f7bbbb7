"""Who is answered by a version on trial: a share of the clients, the same everywhere, and who is in stays in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from trimtab.trial import Stage, Trial, answers

CLIENTS = [f"client {n}" for n in range(4000)]


def trial_of(**changes: object) -> Trial:
    made = Trial(
        model="m", version=2, champion=1, job_id=None, stage=Stage.CANARY, share=0.25, from_seq=0,
        started_at=0.0, stage_at=0.0,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def chosen(share: float, salt: str = "m/2") -> set[str]:
    return {client for client in CLIENTS if answers(share, salt, client)}


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_a_share_of_the_clients_is_answered(share: float) -> None:
    low, high = binom.interval(0.9999, len(CLIENTS), share)
    assert low <= len(chosen(share)) <= high


def test_none_and_all() -> None:
    assert chosen(0.0) == set()
    assert chosen(1.0) == set(CLIENTS)


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_client_that_is_in_stays_in_as_the_share_grows(client: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert answers(large, "m/2", client) or not answers(small, "m/2", client)


def test_the_next_trial_draws_other_clients() -> None:
    """As many are in both as independent draws would have in common."""
    first, second = chosen(0.25, trial_of().salt), chosen(0.25, trial_of(version=3).salt)
    low, high = binom.interval(0.9999, len(first), 0.25)
    assert low <= len(first & second) <= high


@given(st.text())
def test_any_name_has_an_answer(client: str) -> None:
    assert answers(0.5, "m/2", client) is answers(0.5, "m/2", client)


def test_a_name_that_is_no_unicode_has_one_too() -> None:
    assert answers(1.0, "m/2", "\ud800")


def test_every_stage_says_what_it_means() -> None:
    assert all(stage.meaning.endswith((".", "why.")) for stage in Stage)
    assert {stage for stage in Stage if not stage.final} == {Stage.SHADOW, Stage.CANARY}
