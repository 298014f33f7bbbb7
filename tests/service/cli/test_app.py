"""Errors are one clear line; exit codes are 0, 1, 2; the command line is light until a command runs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.fixtures.calls import Trimtab

COMMANDS = (
    "init up serve worker monitor migrate demo replay status drift versions jobs events adapt promote rollback verify "
    "rebase completion doctor backup restore collect keys labels"
)


def test_every_command_is_there_and_explains_itself(trimtab: Trimtab) -> None:
    shown = trimtab("--help")
    assert shown.code == 0
    for command in COMMANDS.split():
        assert f" {command} " in shown.out
        explained = trimtab(command, "--help")
        assert explained.code == 0
        assert "Usage:" in explained.out


@pytest.mark.parametrize(
    "arguments", [("fly",), ("status", "--fast"), ("drift",), ("promote", "m", "zero"), ()]
)
def test_wrong_use_is_told_with_exit_code_2(trimtab: Trimtab, arguments: tuple[str, ...]) -> None:
    outcome = trimtab(*arguments)
    assert outcome.code == 2
    assert "Usage:" in outcome.out + outcome.err
    assert "Traceback" not in outcome.err


def test_what_is_mistyped_is_answered_with_what_is_like_it(trimtab: Trimtab) -> None:
    assert "Did you mean 'status'?" in trimtab("statsu").err
    assert "--json" in trimtab("jobs", "--jsn").err


def test_the_release_is_told(trimtab: Trimtab) -> None:
    told = trimtab("--version")
    assert (told.code, told.out) == (0, f"trimtab {version('trimtab')}\n")


def test_an_unknown_setting_stops_the_start(
    trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_DRIFT__MIN_EFECT", "0.2")
    outcome = trimtab("--home", tmp_path, "status")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "trimtab: TRIMTAB_DRIFT__MIN_EFECT: there is no such setting\n"


def test_a_wrong_value_names_the_key_and_what_was_expected(
    trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_SERVER__PORT", "many")
    outcome = trimtab("--home", tmp_path, "up")
    assert outcome.code == 2
    assert outcome.err.startswith("trimtab: TRIMTAB_SERVER__PORT: ")
    assert "integer" in outcome.err
    assert "'many'" in outcome.err


def test_a_budget_that_cannot_be_read_stops_the_start(
    trimtab: Trimtab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_DRIFT__FALSE_ALARM_BUDGET", "one a day")
    outcome = trimtab("--home", tmp_path, "migrate")
    assert outcome.code == 2
    assert "TRIMTAB_DRIFT__FALSE_ALARM_BUDGET: " in outcome.err
    assert 'write "1 per 30d" or "1 per 100000 events"' in outcome.err


def test_a_wrong_configuration_file_is_told(trimtab: Trimtab, tmp_path: Path) -> None:
    file = tmp_path / "trimtab.toml"
    file.write_text("[drift]\nwindow = 10\n", encoding="utf-8")
    outcome = trimtab("--config", file, "--home", tmp_path, "status")
    assert outcome.code == 2
    assert "TRIMTAB_DRIFT__WINDOW" in outcome.err
    assert trimtab("--config", tmp_path / "absent.toml", "status").code == 2


def test_a_home_without_anything_says_what_to_do(trimtab: Trimtab, tmp_path: Path) -> None:
    outcome = trimtab("--home", tmp_path / "none", "status")
    assert outcome.code == 2
    assert "run `trimtab init` or `trimtab up` first" in outcome.err
    assert not (tmp_path / "none").exists()


def test_importing_the_command_line_loads_neither_torch_nor_fastapi() -> None:
    code = """
import sys, service.cli
heavy = {"torch", "transformers", "peft", "fastapi", "celery", "sqlalchemy", "numpy"} & set(sys.modules)
sys.exit(", ".join(heavy) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_monitor_command_loads_neither_torch_nor_fastapi() -> None:
    code = """
import sys, service.cli.processes, monitoring.monitor, workers.app, service.parts
sys.exit(", ".join({"torch", "transformers", "peft", "fastapi", "starlette"} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_migrate_makes_the_ledger(trimtab: Trimtab, tmp_path: Path) -> None:
    assert trimtab("--home", tmp_path / "new", "migrate").code == 0
    assert trimtab("--home", tmp_path / "new", "migrate").code == 0
    assert (tmp_path / "new" / "ledger.db").exists()
    assert not (tmp_path / "new" / "keys").exists()


def test_migrate_makes_keys_once(trimtab: Trimtab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = tmp_path / "private" / "signing.pem", tmp_path / "public" / "verify.pem"
    monkeypatch.setenv("TRIMTAB_SIGNING__PRIVATE_KEY", str(private))
    monkeypatch.setenv("TRIMTAB_SIGNING__PUBLIC_KEY", str(public))
    assert trimtab("--home", tmp_path, "migrate", "--create-keys").code == 0
    made = private.read_bytes(), public.read_bytes()
    assert trimtab("--home", tmp_path, "migrate", "--create-keys").code == 0
    assert (private.read_bytes(), public.read_bytes()) == made
