"""Settings: read once per process by an entry point, frozen, handed on as the group or value a function needs.

Sources, first wins: environment (`TRIMTAB_DRIFT__MIN_EFFECT=0.1`), then the TOML file named by `--config` or
`TRIMTAB_CONFIG`, then the defaults below. An unknown key or a wrong value stops the start.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from trimtab.errors import SettingsError

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|m|h|d)$")
BUDGET = r"^\s*(\d+(?:\.\d+)?)\s+per\s+(\d+(?:\.\d+)?)\s*(events|s|m|h|d)\s*$"
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(duration: str) -> float:
    """Seconds of a duration such as "30s", "15m", "12h", "7d" or "0"; raises ValueError with what would be right."""
    if duration.strip() == "0":
        return 0.0
    match = _DURATION.match(duration.strip())
    if match is None:
        raise ValueError(
            f'{duration!r} is not a duration: write a number and s, m, h or d, such as "7d", or "0"'
        )
    return float(match[1]) * _SECONDS[match[2]]


def _checked_duration(duration: str) -> str:
    seconds_of(duration)
    return duration


def _checked_budget(budget: str) -> str:
    if re.match(BUDGET, budget) is None:
        raise ValueError('write "1 per 30d" or "1 per 100000 events"')
    return budget


Duration = Annotated[str, AfterValidator(_checked_duration)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RedisSettings(_Group):
    """Redis or Valkey; without a URL `trimtab up` starts an embedded Valkey on a unix socket."""

    url: str | None = None


class LedgerSettings(_Group):
    """The database; without a URL a SQLite file in the home."""

    url: str | None = None


class StoreSettings(_Group):
    """Where adapter versions lie; without a URL a directory in the home."""

    url: str | None = None
    retention: Duration = Field(
        "90d", description="how long `trimtab collect` leaves a version that nothing needs"
    )
    keep_versions: int = Field(
        10, ge=0, description="newest versions of a model that `trimtab collect` leaves in any case"
    )

    @property
    def retention_s(self) -> float:
        return seconds_of(self.retention)


class ServerSettings(_Group):
    """The HTTP server and the inference engine."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    threads: int = Field(
        0,
        ge=0,
        description="compute threads of the inference engine; 0: all cores but one, shared by the workers",
    )
    precision: Literal["fp32", "bf16", "fp16", "int8"] = Field(
        "fp32", description="of the encoder's arithmetic"
    )
    max_precision_shift: Share = Field(
        0.02, description="mean probability that a lower precision may move between labels; else fp32 serves"
    )
    max_variants_bytes: int = Field(2_000_000_000, ge=1, description="memory of all loaded versions together")
    workers: int = Field(1, ge=1, description="API processes that share the port")
    hosts: str | None = Field(None, description="names that a request's Host may have, separated by commas")
    poll_s: float = Field(1.0, gt=0, description="how often a replica looks for a newer generation")
    max_body_bytes: int = Field(2_000_000, ge=1)
    max_stream_bytes: int = Field(16_000_000, ge=1, description="body of a bulk request, which is NDJSON")
    max_items: int = Field(32, ge=1, description="items per request")
    max_tokens: int = Field(512, ge=8, description="tokens per item; longer texts are cut")
    max_queue_items: int = Field(256, ge=1)
    max_queue_tokens: int = Field(65_536, ge=1)
    max_batch_items: int = Field(32, ge=1)
    max_batch_tokens: int = Field(1024, ge=1)
    collect_s: float = Field(
        0.002, ge=0, description="longest wait of a batch for its companions, under load"
    )
    deadline_s: float = Field(10.0, gt=0, description="longest wait of a request in the queue")
    drain_s: float = Field(10.0, ge=0)

    @property
    def host_names(self) -> frozenset[str]:
        """The names in `hosts`; empty when it is unset."""
        return frozenset(name.strip().lower() for name in (self.hosts or "").split(",") if name.strip())


class AuthSettings(_Group):
    """Who may call: `off` only on a loopback address, else API keys with roles."""

    mode: Literal["off", "keys"] = "off"


class SigningSettings(_Group):
    """ed25519 keys (PEM files) that sign and verify versions; without names those in `home/keys`."""

    private_key: Path | None = None
    public_key: Path | None = None


class DriftSettings(_Group):
    """The monitor. Three numbers matter: the budget, the smallest effect, the largest loss of accuracy."""

    false_alarm_budget: Annotated[str, AfterValidator(_checked_budget)] = "1 per 30d"
    min_effect: Share = 0.1
    max_accuracy_drop: Share = 0.03
    act_on: Literal["any", "harmful", "none"] = "any"
    window: int = Field(500, ge=50, description="events in the short window: finds large changes fast")
    long_window: int = Field(2000, ge=50, description="events in the long window: finds small changes")
    check_every: int = Field(
        50, ge=1, description="events between two checks; both windows are multiples of it"
    )
    check_every_s: float = Field(
        300.0, gt=0, description="seconds between two checks under full load; a budget in days counts these"
    )
    confirm_checks: int = Field(2, ge=1, description="consecutive actionable checks before a job is opened")

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        if self.long_window < self.window:
            raise ValueError(f"long_window is shorter than window ({self.window})")
        for name in ("window", "long_window"):
            if getattr(self, name) % self.check_every:
                raise ValueError(f"{name} must be a multiple of check_every ({self.check_every})")
        return self


class GateSettings(_Group):
    """What a candidate must prove before it serves."""

    mode: Literal["auto", "hold", "off"] = "auto"
    max_forgetting: Share = 0.03
    alpha: Share = 0.05
    min_gain: Share = 0.01
    min_n: int = Field(100, ge=10, description="labels the gain test needs at least")
    max_uses: int = Field(
        20, ge=1, description="decisions of one gate set, until new random labels have doubled it"
    )
    max_client_share: Share = Field(
        0.2, description="of what is trained on, for one of three clients or more; 1: no limit"
    )


class MemorySettings(_Group):
    """Exemplars kept for replay."""

    budget: int = Field(2000, ge=0)
    retention: Duration = Field(
        "0", description='how long an exemplar is replayed; "0": as long as the model lives'
    )

    @property
    def retention_s(self) -> float:
        return seconds_of(self.retention)


class TrainingSettings(_Group):
    """The adaptation in a worker."""

    queue: str = "adapt"
    max_seconds: float = Field(1800.0, gt=0)
    lease_s: float = Field(30.0, gt=0)
    threads: int = Field(2, ge=1)
    epochs: int = Field(3, ge=1)
    seed: int = 7
    min_train_labels: int = Field(200, ge=1)
    min_labels_per_class: int = Field(16, ge=1)
    min_selection_labels: int = Field(30, ge=0)
    min_gate_labels: int = Field(150, ge=10)


class PolicySettings(_Group):
    """When to act."""

    cooldown_s: float = Field(1800.0, ge=0)
    label_deadline_s: float = Field(7 * 86400.0, gt=0)
    watch_events: int = Field(
        5000, ge=1, description="events a new version must serve before its window stays in memory"
    )
    watch_alpha: float = Field(
        0.01, gt=0, lt=1, description="probability of stepping back from a version that keeps its promise"
    )
    max_failures: int = Field(2, ge=1, description="adaptations without success before a human must look")


class SamplesSettings(_Group):
    """What is kept of the traffic."""

    rate: Share = Field(1.0, description="share of predictions that are sampled for the monitor")
    retention: Duration = Field("7d", description='how long texts and features are kept; "0" keeps no text')
    ring: int = Field(10_000, ge=1, description="samples that wait in memory for Redis at most")
    stream_maxlen: int = Field(10_000, ge=1, description="blocks kept in the Redis stream at most")

    @property
    def retention_s(self) -> float:
        return seconds_of(self.retention)


class LabelsSettings(_Group):
    """Labels that people give."""

    daily_quota: int = Field(
        50_000, ge=0, description="labels that one key may give in 24 hours; 0: any number"
    )
    max_open: int = Field(1000, ge=0, description="label requests of a job that are open at once; 0: none")
    half_width: Share = Field(
        0.03,
        description="interval of the window's accuracy at which no more labels are asked for than a job needs",
    )


class MonitorSettings(_Group):
    """The monitor process."""

    tick_s: float = Field(1.0, gt=0)
    lease_s: float = Field(15.0, gt=0)
    renudge_s: float = Field(15.0, gt=0, description="a job that nobody took is announced to the queue again")
    metrics_port: int = Field(0, ge=0, le=65535, description="0 = no metrics port")


class WorkerSettings(_Group):
    """The worker process."""

    metrics_port: int = Field(0, ge=0, le=65535, description="0 = no metrics port")


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
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Group):
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
