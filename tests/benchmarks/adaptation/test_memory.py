"""The benchmark's memory keeps what the product would, with the logits of the version that had just learnt it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.adaptation.data import Domain, Study
from benchmarks.adaptation.memory import remember, replay_set
from benchmarks.adaptation.methods import start
from trimtab.base import load_base
from workers.artefact import Candidate


@pytest.fixture(scope="module")
def domains(study: Study) -> dict[str, Domain]:
    return study.split(0)


@pytest.fixture(scope="module")
def versions(study: Study, domains: dict[str, Domain]) -> list[Candidate]:
    base = load_base(study.base, "cpu")
    return [
        start(base, study.labels, [domains[name].train.training_set()], 1, seed)
        for seed, name in enumerate(("film", "shop"))
    ]


def test_domains_and_classes_share_the_budget(domains: dict[str, Domain], versions: list[Candidate]) -> None:
    first = remember((), versions[0], domains["film"], 80)
    assert len(first) == 80
    both = remember(first, versions[1], domains["shop"], 80)
    groups = Counter((each["domain"], each["label"]) for each in both)
    assert len(groups) == 4
    assert max(groups.values()) - min(groups.values()) <= 1
    assert sum(groups.values()) == 80


def test_what_is_kept_keeps_its_logits(domains: dict[str, Domain], versions: list[Candidate]) -> None:
    first = remember((), versions[0], domains["film"], 80)
    both = remember(first, versions[1], domains["shop"], 80)
    assert [each for each in both if each["domain"] == "film"] == [each for each in first if each in both]
    new = [each for each in both if each["domain"] == "shop"]
    expected = versions[1].answers.outputs([each["text"] for each in new]).logits
    assert np.array_equal(np.array([each["logits"] for each in new], dtype=np.float32), expected)


def test_a_smaller_budget_keeps_a_part_of_what_a_larger_one_does(
    domains: dict[str, Domain], versions: list[Candidate]
) -> None:
    kept = [{each["text"] for each in remember((), versions[0], domains["film"], n)} for n in (20, 60)]
    assert kept[0] < kept[1]


def test_nothing_new_leaves_all_as_it_is(domains: dict[str, Domain], versions: list[Candidate]) -> None:
    first = remember((), versions[0], domains["film"], 80)
    nothing = replace(domains["shop"], train=domains["shop"].train.first(0))
    again = remember(first, versions[1], nothing, 80)
    assert sorted(each["text"] for each in again) == sorted(each["text"] for each in first)
    assert len(replay_set(again, 2).texts) == 80
