"""What a process stands on: keys that fit, room on the disk, a device that works, nobody uninvited."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.doctor import Check, Verdict
from service.doctor.machine import (
    LOW_BYTES,
    TOO_LOW_BYTES,
    check_device,
    check_disk,
    check_exposure,
    check_keys,
    check_libraries,
)
from trimtab.adapter import create_keys
from trimtab.errors import SettingsError
from trimtab.ledger import Ledger
from trimtab.settings import AuthSettings, ServerSettings, Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    create_keys(settings.private_key_path, settings.public_key_path)
    return settings


def only(checks: Iterator[Check]) -> Check:
    (check,) = checks
    return check


def private(settings: Settings) -> Check:
    return list(check_keys(settings))[-1]


def test_keys_that_fit(settings: Settings) -> None:
    assert [check.verdict for check in check_keys(settings)] == [Verdict.OK, Verdict.OK]


def test_a_process_without_the_private_key_may_be_right(settings: Settings) -> None:
    settings.private_key_path.unlink()
    assert private(settings).verdict is Verdict.WARN


def test_keys_that_do_not_belong_together_are_told(settings: Settings, tmp_path: Path) -> None:
    create_keys(tmp_path / "other.pem", tmp_path / "other.pub")
    shutil.copy(tmp_path / "other.pub", settings.public_key_path)
    assert (private(settings).verdict, "does not belong" in private(settings).detail) == (Verdict.FAIL, True)


def test_a_private_key_that_everybody_may_read_is_told(settings: Settings) -> None:
    settings.private_key_path.chmod(0o644)
    assert (private(settings).verdict, "chmod 600" in private(settings).advice) == (Verdict.FAIL, True)
    settings.private_key_path.chmod(0o440)  # a Kubernetes secret with fsGroup
    assert private(settings).verdict is Verdict.OK


def test_a_file_that_is_no_key_is_told(settings: Settings) -> None:
    settings.public_key_path.write_text("no key")
    with pytest.raises(SettingsError, match="not a public key"):
        list(check_keys(settings))


@pytest.mark.parametrize(
    "free, verdict",
    [(TOO_LOW_BYTES - 1, Verdict.FAIL), (LOW_BYTES - 1, Verdict.WARN), (LOW_BYTES, Verdict.OK)],
)
def test_room_on_the_disk(
    free: int, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    check = only(check_disk(Settings(home=tmp_path / "not" / "yet")))
    assert check.verdict is verdict
    assert check.detail.endswith(str(tmp_path))


@pytest.mark.parametrize(
    "device, verdict",
    [("cpu", Verdict.OK), ("auto", Verdict.OK), ("cuda:99", Verdict.FAIL), ("tpu", Verdict.FAIL)],
)
def test_the_device_is_tried(device: str, verdict: Verdict) -> None:
    assert only(check_device(Settings(device=device))).verdict is verdict


@pytest.mark.parametrize(
    "host, mode, verdict",
    [("127.0.0.1", "off", Verdict.OK), ("10.0.0.1", "off", Verdict.FAIL), ("10.0.0.1", "keys", Verdict.OK)],
)
def test_an_open_door_is_told(host: str, mode: str, verdict: Verdict) -> None:
    settings = Settings(server=ServerSettings(host=host), auth=AuthSettings.model_validate({"mode": mode}))
    assert only(check_exposure(settings)).verdict is verdict


def test_versions_are_named() -> None:
    said = only(check_libraries(Settings())).detail
    assert "trimtab 0.1.0" in said
    assert "Python 3." in said


WITHOUT = """
import sys
from importlib.machinery import PathFinder

HIDDEN = {"torch", "transformers", "peft", "fastapi", "starlette", "uvicorn"}

class Light(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Light
from service.cli.app import app
app()
"""


@pytest.mark.parametrize(
    "command", ["doctor", "status", "collect", "backup saved.zip", "migrate --create-keys"]
)
def test_the_monitors_image_can_run_it(command: str, tmp_path: Path) -> None:
    """Without torch and without a web server: what is kept in order by hand needs neither."""
    settings = Settings(home=tmp_path)
    create_keys(settings.private_key_path, settings.public_key_path)
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    ledger.close()
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, "--home", str(tmp_path), *command.split()],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
