"""Settings: read once, frozen, and a wrong one stops the start with its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from trimtab.errors import SettingsError
from trimtab.settings import (
    DriftSettings,
    TrialSettings,
    as_environment,
    known_environment,
    read_settings,
    runtime_dir,
    seconds_of,
)
from trimtab.trial import TrialMode


def test_defaults_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    settings = read_settings()
    assert settings.ledger_url == f"sqlite:///{tmp_path}/ledger.db"
    assert settings.store_url == f"file://{tmp_path}/store"
    assert settings.redis_url.startswith("unix://")
    assert settings.private_key_path == tmp_path / "keys" / "signing.pem"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "trimtab.toml"
    file.write_text("[drift]\nmin_effect = 0.2\nwindow = 400\n")
    monkeypatch.setenv("TRIMTAB_DRIFT__MIN_EFFECT", "0.3")
    settings = read_settings(file)
    assert (settings.drift.min_effect, settings.drift.window, settings.drift.check_every) == (0.3, 400, 50)


def test_the_file_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "trimtab.toml"
    file.write_text("[server]\nport = 9000\n")
    monkeypatch.setenv("TRIMTAB_CONFIG", str(file))
    assert read_settings().server.port == 9000


def test_settings_are_frozen() -> None:
    settings = read_settings()
    with pytest.raises(ValidationError):
        settings.drift.window = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("TRIMTAB_DRIFT__MIN_EFFECT", "2", "less than or equal to 1"),
        ("TRIMTAB_SERVER__PORT", "http", "valid integer"),
        ("TRIMTAB_GATE__MODE", "maybe", "'auto', 'hold' or 'off'"),
        ("TRIMTAB_SAMPLES__RETENTION", "a week", "is not a duration"),
        ("TRIMTAB_DRIFT__MIN_EFECT", "0.1", "there is no such setting"),
        ("TRIMTAB_COLOUR", "red", "there is no such setting"),
    ],
)
def test_a_wrong_or_unknown_key_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as caught:
        read_settings()
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[drift]\ncolour = 1\n", "TRIMTAB_DRIFT__COLOUR"),
        ("[drift\n", "not valid TOML"),
        ("[odd]\na = 1\n", "TRIMTAB_ODD"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "trimtab.toml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=expected):
        read_settings(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_settings(tmp_path / "nowhere.toml")


def test_a_child_gets_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "trimtab.toml"
    file.write_text(
        'home = "/srv/x"\n[policy]\ncooldown_s = 1.5\n[redis]\nurl = "redis://h:1/0"\n'
        '[trial]\nmode = "canary"\ncanary_shares = [0.1, 0.5]\n'
    )
    settings = read_settings(file)
    for name, value in as_environment(settings).items():
        assert name in known_environment()
        monkeypatch.setenv(name, value)
    assert read_settings() == settings


def test_durations() -> None:
    assert [seconds_of(d) for d in ("0", "90s", "15m", "1.5h", "7d")] == [0, 90, 900, 5400, 604800]


def test_the_runtime_directory_is_short_and_one_per_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    deep = tmp_path / ("x" * 100)
    assert len(str(runtime_dir(deep) / "valkey.sock")) < 100
    assert runtime_dir(deep) == runtime_dir(deep) != runtime_dir(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"window": 500, "check_every": 60}, "window must be a multiple of check_every"),
        ({"long_window": 2_030}, "long_window must be a multiple of check_every"),
        ({"window": 3_000}, "long_window is shorter than window"),
    ],
)
def test_windows_are_whole_blocks(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        DriftSettings(**wrong)


def test_trials_are_off_until_somebody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().trial.mode is TrialMode.OFF
    monkeypatch.setenv("TRIMTAB_TRIAL__MODE", "canary")
    monkeypatch.setenv("TRIMTAB_TRIAL__CANARY_SHARES", "[0.1, 1]")
    trial = read_settings().trial
    assert (trial.mode, trial.canary_shares) == (TrialMode.CANARY, (0.1, 1.0))


@pytest.mark.parametrize("shares", [(), (0.3, 0.1), (0.1, 0.1), (0.1, 1.1)])
def test_shares_of_the_clients_grow(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        TrialSettings(canary_shares=shares)
