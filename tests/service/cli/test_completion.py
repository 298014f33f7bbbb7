"""Shells complete commands, models of the home and open jobs; a home without a ledger completes no names, quietly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.calls import Trimtab
from tests.fixtures.deployment import Deployment
from trimtab.ledger import jobs

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """What bash is offered for these words, the last one unfinished."""

    def offered(*words: object) -> list[str]:
        line = ["trimtab", *map(str, words)]
        monkeypatch.setenv("COMP_WORDS", " ".join(line))
        monkeypatch.setenv("COMP_CWORD", str(len(line) - 1))
        monkeypatch.setenv("_TRIMTAB_COMPLETE", "complete_bash")
        outcome = trimtab()
        assert outcome.err == ""
        return outcome.out.split()

    return offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(trimtab: Trimtab, shell: str) -> None:
    script = trimtab("completion", shell)
    assert script.code == 0
    assert f"_TRIMTAB_COMPLETE=complete_{shell}" in script.out
    assert trimtab("completion", "cmd").code == 2


def test_commands_and_options_are_completed(complete: Complete) -> None:
    assert complete("jo") == ["jobs"]
    assert complete("labels", "ex") == ["export"]
    assert complete("status", "--wa") == ["--watch"]


def test_models_and_open_jobs_are_completed(complete: Complete, toy: Deployment) -> None:
    toy.create_model("toy")
    toy.create_model("tidy")
    with toy.ledger.begin() as tx:
        ended = jobs.open_job(tx, "toy", cause={}, domain="d", window_from_seq=1)
        jobs.cancel(tx, ended.id)
        job = jobs.open_job(tx, "toy", cause={}, domain="d", window_from_seq=1)
    home = ("--home", toy.settings.home)
    assert complete(*home, "versions", "t") == ["tidy", "toy"]
    assert complete(*home, "drift", "to") == ["toy"]
    assert complete(*home, "jobs", "c") == ["cancel"]
    assert complete(*home, "jobs", "cancel", job.id[0]) == [job.id[:8]]


def test_without_a_ledger_no_name_is_offered(complete: Complete, tmp_path: Path) -> None:
    assert complete("--home", tmp_path / "none", "versions", "t") == []
    assert not (tmp_path / "none").exists()
