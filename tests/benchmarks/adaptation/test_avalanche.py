"""The peer's side where no peer is needed: our version in plain peft, and what becomes of a peer that fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.adaptation.__main__ import Work, make
from benchmarks.adaptation.avalanche import MAX_TOKENS, REQUIREMENTS, asked
from benchmarks.adaptation.avalanche_side import Classifier, Rows, answered, padded, rate
from benchmarks.adaptation.cells import Cells
from benchmarks.adaptation.data import Study
from benchmarks.adaptation.methods import AVALANCHE
from benchmarks.adaptation.report import MISSING, write_report
from benchmarks.adaptation.results import Results
from benchmarks.adaptation.stream import Runner, Seed, unpacked


@pytest.fixture
def opened(runner: Runner, study: Study, tmp_path: Path) -> Classifier:
    """The source version as the peer opens it: plain transformers and peft."""
    for name, content in runner.cells.files(Seed(study, 0).source_cell()).items():
        (tmp_path / name).write_bytes(content)
    return Classifier(study.base, tmp_path, runner.base.pad_id)


def test_the_peer_starts_where_we_start(opened: Classifier, runner: Runner, study: Study) -> None:
    """Plain peft answers every test text as the merged bundle did."""
    seed = Seed(study, 0)
    found = runner.cells.result(seed.source_cell())
    assert found is not None
    for name, domain in seed.domains.items():
        answers = answered(opened, runner.base.encode(domain.test.texts, MAX_TOKENS))
        right = unpacked(found["right"][name], len(domain.test))
        assert np.array_equal(np.array(answers) == domain.test.labels, right)


def test_padding_changes_no_logit(opened: Classifier, runner: Runner) -> None:
    ids = runner.base.encode(["the film was fun", "boring"], MAX_TOKENS)
    with torch.inference_mode():
        alone = torch.cat([opened(padded([row], opened.pad)) for row in ids])
        together = opened(padded(ids, opened.pad, 40))
    assert torch.allclose(alone, together, atol=1e-5)


def test_only_lora_and_head_are_trained(opened: Classifier) -> None:
    trained = {name for name, weight in opened.named_parameters() if weight.requires_grad}
    assert {"head.weight", "head.bias"} < trained
    assert all("lora_" in name for name in trained - {"head.weight", "head.bias"})


def test_rows_are_what_was_asked() -> None:
    rows = Rows(padded([[1, 2], [3]], 0), [1, 0])
    assert [(ids.tolist(), label) for ids, label in (rows[0], rows[1])] == [([1, 2], 1), ([3, 0], 0)]
    assert (len(rows), rows.targets) == (2, [1, 0])


def test_the_rate_rises_and_falls() -> None:
    rates = [rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rate(120, 100) == 0.0


def test_the_question_holds_no_test_label_and_every_text(runner: Runner, study: Study) -> None:
    domains = list(Seed(study, 0).domains.values())
    question = asked(runner.base, domains, study, 0)
    assert [len(each["labels"]) for each in question["domains"]] == [120, 60, 60]
    assert {name: len(ids) for name, ids in question["tests"].items()} == {
        each.name: len(each.test) for each in domains
    }
    json.dumps(question)


def test_a_peer_that_fails_is_left_out_and_the_report_says_why(study: Study, tmp_path: Path) -> None:
    """An environment without Avalanche."""
    folder = tmp_path / "peers" / AVALANCHE.name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "installed.txt").write_text("\n".join(REQUIREMENTS), encoding="utf-8")
    runner = Runner(Cells(tmp_path), study, peers=tmp_path / "peers")
    make(runner, Work(AVALANCHE.name, 0, study.orders[0]))
    assert "Avalanche failed" in (tmp_path / MISSING).read_text(encoding="utf-8")
    report = write_report(Results(runner.cells, study, n_seeds=1, n_draws=5))
    assert "Avalanche's replay is left out: Avalanche failed" in report
