"""Both fits on a tiny base, and the table."""

from __future__ import annotations

import pytest
import torch

from benchmarks.adaptation.data import Study
from benchmarks.adaptation.speed import NAMES, Timing, table, timed
from benchmarks.adaptation.speed import main as run_speed
from trimtab.base import BaseModel, load_base
from workers.fit import Recipe


@pytest.fixture(scope="module")
def small(study: Study) -> BaseModel:
    return load_base(study.base, "cpu")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_both_learn_the_same_thing(study: Study, small: BaseModel) -> None:
    """60 texts, many passes: each is right far more often than chance, and leaves the base as it was."""
    before = {name: tensor.clone() for name, tensor in small.encoder.state_dict().items()}
    domain = study.split(0)["shop"]
    for name in NAMES:
        found = timed(name, small, domain, Recipe(epochs=8, seed=1, batch=8))
        n = len(domain.test)
        assert found.accuracy > 0.5 + 4 * (0.25 / n) ** 0.5
        assert found.cpu_s > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in small.encoder.state_dict().items())


def test_the_table_compares_runs_of_one_seed() -> None:
    timings = [
        Timing("ours", 0, 10.0, 0.9),
        Timing("Trainer + peft", 0, 30.0, 0.91),
        Timing("ours", 1, 20.0, 0.92),
        Timing("Trainer + peft", 1, 40.0, 0.9),
        Timing("Trainer + peft", 2, 1.0, 0.5),
    ]
    lines = table(timings).splitlines()
    assert lines[1] == "ours | 15.0 | 1.00 | 0.900, 0.920"
    assert lines[2] == "Trainer + peft | 35.0 | 2.50 | 0.910, 0.900"
    assert len(lines) == 3


def test_the_command_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_speed(["--help"])
    assert ended.value.code == 0
    assert "--seeds" in capsys.readouterr().out
