from __future__ import annotations

import numpy as np

from tests.workers.remedies.conftest import MakeTask
from trimtab.adapter import BOUND_FILES
from workers.remedies.reference import propose_reference

TEXTS = ("a good film", "the phone is broken", "")


def test_the_champion_is_proposed_as_it_is(make_task: MakeTask) -> None:
    task = make_task(version=7)
    made = propose_reference(task)
    assert made.candidate.files == {name: task.champion.files[name] for name in BOUND_FILES}
    assert made.candidate.bundle.version == 7
    assert made.shares is None
    np.testing.assert_allclose(
        made.answers.probabilities(TEXTS, task.domain),
        task.champion.answers.probabilities(TEXTS, task.domain),
        atol=1e-6,  # texts were asked in other batches
    )
