"""What the demo changes against the defaults, because it packs weeks of traffic into minutes. Printed at every run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.settings import Settings


@dataclass(frozen=True)
class Change:
    """One setting of the demo and why it differs from the default."""

    group: str
    name: str
    value: Any
    reason: str

    @property
    def key(self) -> str:
        return f"TRIMTAB_{self.group}__{self.name}".upper()

    @property
    def default(self) -> Any:
        return getattr(getattr(Settings.model_construct(), self.group), self.name)


CHANGES = (
    Change("drift", "check_every_s", 0.5, "a check every 50 events, however fast they come"),
    Change("drift", "false_alarm_budget", "1 per 1000000 events", "the demo's time is events, not days"),
    Change(
        "policy",
        "cooldown_s",
        30.0,
        "one domain follows another; longer than a window of traffic, so that a job is about one change",
    ),
    Change("policy", "label_deadline_s", 240.0, "labels come after seconds, not days"),
    Change("monitor", "tick_s", 0.25, "a few seconds are long here"),
    Change("server", "poll_s", 0.5, "a swap is seen at once even if the hint is lost"),
)

FULL_CHANGES = (
    Change("training", "min_gate_labels", 300, "the next domain must prove on these that it forgot nothing"),
)


def changes_of(*, full: bool) -> tuple[Change, ...]:
    """What a run changes; `--full` asks for more labels, because later domains are held against earlier ones."""
    return CHANGES + FULL_CHANGES if full else CHANGES


def demo_settings(settings: Settings, *, home: Path, port: int, seed: int, full: bool) -> Settings:
    """The settings of a run: the user's, with the demo's home, port, seed and shortened times, on embedded parts."""
    changes: dict[str, dict[str, Any]] = {
        "server": {"host": "127.0.0.1", "port": port},
        "training": {"seed": seed},
        "auth": {"mode": "off"},
        "redis": {"url": None},
        "ledger": {"url": None},
        "store": {"url": None},
        "signing": {"private_key": None, "public_key": None},
    }
    for change in changes_of(full=full):
        changes.setdefault(change.group, {})[change.name] = change.value
    groups = {group: getattr(settings, group).model_copy(update=named) for group, named in changes.items()}
    return settings.model_copy(update={"home": home, "config": None} | groups)
