"""A small version of the study, for real: one candidate of every kind, two where they come in two forms."""

from __future__ import annotations

import pytest

from benchmarks.gate.bad import BAD, FORGOTTEN, KINDS, Fate, Setting, fate, fates

TWO_FORMS = ("wrong base", "tampered file")
# What must see it. Of the others any check may: which one depends on the texts.
SEEN_BY = {"NaN": "integrity", "one-client poison": "data:labels"}


@pytest.mark.parametrize(
    ("kind", "number"), [*((kind, 0) for kind in BAD), *((kind, 1) for kind in TWO_FORMS)]
)
def test_a_bad_candidate_does_not_reach_traffic(setting: Setting, kind: str, number: int) -> None:
    found = fate(setting, kind, number)
    assert not found.reached
    assert SEEN_BY.get(kind) is None or SEEN_BY[kind] in found.stopped_by
    if kind == "5 points forgotten":
        assert found.past == pytest.approx(-FORGOTTEN, abs=0.02)


def test_honest_labels_are_not_taken_for_poison_and_sound_files_not_for_tampered(setting: Setting) -> None:
    """Toy texts are too few and the base too small to forget nothing: only the test of that may stand in the way."""
    found = fate(setting, "good", 0)
    assert set(found.stopped_by) <= {"forgetting", "flips", "likelihood", "slices", "calibration"}
    assert found.new is not None
    assert found.new > 0.1


def test_what_is_known_is_not_made_again(setting: Setting) -> None:
    known = [Fate(kind, 0, "rejected", False, (), None, None) for kind in KINDS]
    assert list(fates(setting, dict.fromkeys(KINDS, 1), known)) == []
