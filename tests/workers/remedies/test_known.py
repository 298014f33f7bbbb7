from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.fixtures.toy_texts import toy_rows
from tests.workers.remedies.conftest import MakeTask, labelled
from workers.evaluate import Scorecard
from workers.remedies.head import propose_head
from workers.remedies.known import paired_gain, propose_known
from workers.task import Declined, Proposal, Task
from workers.workshop import LoadedVersion

SELECTION = labelled(toy_rows("shop", 120, seed=3))


def score(right: list[int]) -> Scorecard:
    bits = np.array(right, dtype=bool)
    return Scorecard(len(bits), float(bits.mean()), float(bits.mean()), bits)


@pytest.fixture(scope="session")
def shop_version(make_task: MakeTask) -> LoadedVersion:
    """A version that learnt shops too."""
    task = make_task(train=labelled(toy_rows("shop", 300)))
    found = propose_head(task)
    assert isinstance(found, Proposal)
    return LoadedVersion(5, "digest", {**task.champion.files, **found.candidate.files}, found.answers)


def test_the_gain_and_its_error_are_those_of_paired_differences() -> None:
    gain, error = paired_gain(score([1, 0, 0, 0]), score([1, 1, 1, 0]))
    assert gain == 0.5
    assert error == pytest.approx(np.std([0, 1, 1, 0]) / 2)


def test_the_version_that_knows_the_domain_is_proposed(
    make_task: MakeTask, shop_version: LoadedVersion
) -> None:
    task = make_task(selection=SELECTION)
    poor = replace(task.champion, n=4)
    found = propose_known(replace(task, known=(poor, shop_version)))
    assert isinstance(found, Proposal)
    assert found.name == "known:5"
    assert found.details["gain"] > 2 * found.details["standard_error"]
    texts = toy_rows("shop", 30, seed=9)
    asked = [row.text for row in texts]
    assert found.answers.predicted(asked).tolist() == shop_version.answers.predicted(asked).tolist()
    assert found.candidate.bundle.version == task.version


def test_a_version_that_gains_nothing_is_declined(make_task: MakeTask) -> None:
    task = make_task(selection=SELECTION)
    found = propose_known(replace(task, known=(replace(task.champion, n=4),)))
    assert isinstance(found, Declined)
    assert "version 4" in found.reason


@pytest.mark.parametrize("what", ["no versions", "few labels"])
def test_nothing_to_compare_is_declined(make_task: MakeTask, shop_version: LoadedVersion, what: str) -> None:
    task: Task = make_task(selection=SELECTION)
    few = labelled(toy_rows("shop", 29))
    given = (
        replace(task, known=())
        if what == "no versions"
        else replace(task, known=(shop_version,), selection=few)
    )
    assert isinstance(propose_known(given), Declined)
