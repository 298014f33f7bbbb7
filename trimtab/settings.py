"""Settings: read once per process by an entry point, frozen, handed on as the group or value a function needs.

Sources, first wins: environment (`TRIMTAB_DRIFT__MIN_EFFECT=0.1`), then the TOML file named by `--config` or
`TRIMTAB_CONFIG`, then the defaults below. An unknown key or a wrong value stops the start.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trimtab.errors import SettingsError
from trimtab.setting_groups import (
    BUDGET,
    AuthSettings,
    DriftSettings,
    Duration,
    GateSettings,
    Group,
    LabelsSettings,
    LedgerSettings,
    MemorySettings,
    MonitorSettings,
    PolicySettings,
    RedisSettings,
    SamplesSettings,
    ServerSettings,
    Share,
    SigningSettings,
    StoreSettings,
    TrainingSettings,
    TrialSettings,
    WorkerSettings,
    seconds_of,
)

__all__ = [
    "BUDGET",
    "AuthSettings",
    "DriftSettings",
    "Duration",
    "GateSettings",
    "LabelsSettings",
    "LedgerSettings",
    "MemorySettings",
    "MonitorSettings",
    "PolicySettings",
    "RedisSettings",
    "SamplesSettings",
    "ServerSettings",
    "Settings",
    "Share",
    "SigningSettings",
    "StoreSettings",
    "TrainingSettings",
    "TrialSettings",
    "WorkerSettings",
    "as_environment",
    "known_environment",
    "read_settings",
    "runtime_dir",
    "seconds_of",
]


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="TRIMTAB_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    home: Path = Path(".trimtab")
    config: Path | None = None
    device: str = "auto"
    redis: RedisSettings = RedisSettings()
    ledger: LedgerSettings = LedgerSettings()
    store: StoreSettings = StoreSettings()
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    signing: SigningSettings = SigningSettings()
    drift: DriftSettings = DriftSettings()
    gate: GateSettings = GateSettings()
    memory: MemorySettings = MemorySettings()
    training: TrainingSettings = TrainingSettings()
    policy: PolicySettings = PolicySettings()
    trial: TrialSettings = TrialSettings()
    samples: SamplesSettings = SamplesSettings()
    labels: LabelsSettings = LabelsSettings()
    monitor: MonitorSettings = MonitorSettings()
    worker: WorkerSettings = WorkerSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is given by pydantic-settings
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)  # the environment wins over the file

    @property
    def ledger_url(self) -> str:
        return self.ledger.url or f"sqlite:///{self.home.absolute() / 'ledger.db'}"

    @property
    def store_url(self) -> str:
        return self.store.url or (self.home.absolute() / "store").as_uri()

    @property
    def redis_url(self) -> str:
        return self.redis.url or f"unix://{runtime_dir(self.home) / 'valkey.sock'}"

    @property
    def private_key_path(self) -> Path:
        return self.signing.private_key or self.home / "keys" / "signing.pem"

    @property
    def public_key_path(self) -> Path:
        return self.signing.public_key or self.home / "keys" / "verify.pem"


def runtime_dir(home: Path) -> Path:
    """A short directory for sockets of this home (a unix socket's path may have about 107 bytes only)."""
    root = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    digest = hashlib.sha256(str(home.absolute()).encode()).hexdigest()[:12]
    return root / f"trimtab-{os.getuid()}-{digest}"


def read_settings(config: Path | None = None) -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a key is unknown or a value is wrong; the message names the key and what was expected.
    """
    file = config or (Path(os.environ["TRIMTAB_CONFIG"]) if os.environ.get("TRIMTAB_CONFIG") else None)
    _refuse_unknown_environment(os.environ)
    try:
        return Settings(**_read_toml(file)) if file else Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(item) for item in error.errors())) from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"configuration file {file}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"configuration file {file} is not valid TOML: {error}") from None


def _explain(error: Any) -> str:
    key = "TRIMTAB_" + "__".join(str(part) for part in error["loc"]).upper()
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such setting"
    return f"{key}: {error['msg']}, got {error['input']!r}"


def known_environment() -> frozenset[str]:
    """Every environment variable that is a setting, such as TRIMTAB_DRIFT__MIN_EFFECT."""
    names = set()
    for name, field in Settings.model_fields.items():
        names.add(f"TRIMTAB_{name.upper()}")
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            names |= {f"TRIMTAB_{name.upper()}__{inner.upper()}" for inner in field.annotation.model_fields}
    return frozenset(names)


# Variables of the test suite; they are no settings.
_NOT_SETTINGS = ("TRIMTAB_TEST_",)


def _refuse_unknown_environment(environ: Mapping[str, str]) -> None:
    known = known_environment()
    unknown = [
        name
        for name in environ
        if name.startswith("TRIMTAB_") and name not in known and not name.startswith(_NOT_SETTINGS)
    ]
    if unknown:
        raise SettingsError("; ".join(f"{name}: there is no such setting" for name in sorted(unknown)))


def as_environment(settings: Settings) -> dict[str, str]:
    """What a child process needs in its environment to have the same settings."""
    environment: dict[str, str] = {}
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        if isinstance(value, dict):
            environment |= {f"TRIMTAB_{name.upper()}__{inner.upper()}": str(v) for inner, v in value.items()}
        else:
            environment[f"TRIMTAB_{name.upper()}"] = str(value)
    return environment
