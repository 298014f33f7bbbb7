"""The groups of settings, each frozen, with what their values may be. `trimtab.settings` reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from trimtab.trial import TrialMode

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


class Group(BaseModel):
    """Settings that belong together: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RedisSettings(Group):
    """Redis or Valkey; without a URL `trimtab up` starts an embedded Valkey on a unix socket."""

    url: str | None = None


class LedgerSettings(Group):
    """The database; without a URL a SQLite file in the home."""

    url: str | None = None


class StoreSettings(Group):
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


class ServerSettings(Group):
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


class AuthSettings(Group):
    """Who may call: `off` only on a loopback address, else API keys with roles."""

    mode: Literal["off", "keys"] = "off"


class SigningSettings(Group):
    """ed25519 keys (PEM files) that sign and verify versions; without names those in `home/keys`."""

    private_key: Path | None = None
    public_key: Path | None = None


class DriftSettings(Group):
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


class GateSettings(Group):
    """What a candidate must prove before it serves."""

    mode: Literal["auto", "hold", "off"] = "auto"
    max_forgetting: Share = 0.03
    alpha: Share = 0.05
    min_gain: Share = 0.01
    min_n: int = Field(100, ge=10, description="labels the gain test needs at least")
    max_uses: int = Field(
        20, ge=1, description="decisions of one gate set, until new random labels have doubled it"
    )
    target_n: int = Field(
        500, ge=0, description="examples that a gate set grows to by random labels; 0: only worn ones ask"
    )
    max_client_share: Share = Field(
        0.2, description="of what is trained on, for one of three clients or more; 1: no limit"
    )


class MemorySettings(Group):
    """Exemplars kept for replay."""

    budget: int = Field(2000, ge=0)
    retention: Duration = Field(
        "0", description='how long an exemplar is replayed; "0": as long as the model lives'
    )

    @property
    def retention_s(self) -> float:
        return seconds_of(self.retention)


class TrainingSettings(Group):
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


class PolicySettings(Group):
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


class TrialSettings(Group):
    """A candidate that passed the gate, on real traffic before it serves: unseen first, then for a share of clients."""

    mode: TrialMode = Field(
        TrialMode.OFF, description="shadow: answers that nobody sees; canary: then a share of clients, too"
    )
    min_rate: float = Field(1.0, ge=0, description="predictions per second; with less there is no trial")
    shadow_requests: int = Field(1000, ge=1, description="answers that are compared unseen")
    max_disagreement: Share = Field(0.15, description="of the unseen answers, beyond what labels explain")
    max_shares_away: Share = Field(
        0.15, description="total variation of the predicted classes from what is expected"
    )
    canary_shares: tuple[Share, ...] = Field((0.05, 0.25), description="of the clients, one stage each")
    stage_requests: int = Field(200, ge=1, description="answers after which a stage ends")
    stage_s: float = Field(600.0, gt=0, description="seconds after which a stage ends all the same")
    alpha: float = Field(
        0.05, gt=0, lt=1, description="probability of stopping a candidate that is no worse than allowed"
    )
    max_drop: Share = Field(0.03, description="of the labelled accuracy, against the champion")
    max_s: float = Field(
        86400.0,
        gt=0,
        description="seconds after which a trial without a conclusion ends and a person decides",
    )

    @model_validator(mode="after")
    def _shares_grow(self) -> Self:
        if not self.canary_shares or list(self.canary_shares) != sorted(set(self.canary_shares)):
            raise ValueError("canary_shares grow from stage to stage, and there is at least one")
        return self


class SamplesSettings(Group):
    """What is kept of the traffic."""

    rate: Share = Field(1.0, description="share of predictions that are sampled for the monitor")
    retention: Duration = Field("7d", description='how long texts and features are kept; "0" keeps no text')
    ring: int = Field(10_000, ge=1, description="samples that wait in memory for Redis at most")
    stream_maxlen: int = Field(10_000, ge=1, description="blocks kept in the Redis stream at most")

    @property
    def retention_s(self) -> float:
        return seconds_of(self.retention)


class LabelsSettings(Group):
    """Labels that people give."""

    daily_quota: int = Field(
        50_000, ge=0, description="labels that one key may give in 24 hours; 0: any number"
    )
    max_open: int = Field(1000, ge=0, description="label requests of a job that are open at once; 0: none")
    half_width: Share = Field(
        0.03,
        description="interval of the window's accuracy at which no more labels are asked for than a job needs",
    )


class MonitorSettings(Group):
    """The monitor process."""

    tick_s: float = Field(1.0, gt=0)
    lease_s: float = Field(15.0, gt=0)
    renudge_s: float = Field(15.0, gt=0, description="a job that nobody took is announced to the queue again")
    metrics_port: int = Field(0, ge=0, le=65535, description="0 = no metrics port")


class WorkerSettings(Group):
    """The worker process."""

    metrics_port: int = Field(0, ge=0, le=65535, description="0 = no metrics port")
