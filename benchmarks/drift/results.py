"""Raw results on disk, one JSON file a step: what was asked for, on which machine, how long it took, the records."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monitoring
from benchmarks.drift.workers import Record

PACKAGES = ("numpy", "scipy", "torch", "trimtab")


@dataclass(frozen=True)
class Step:
    """A resumable piece of a part: `plan` is what its numbers depend on, `run` makes the records."""

    name: str
    plan: dict[str, Any]
    run: Callable[[], list[Record]]


@dataclass(frozen=True)
class Results:
    """The results of finished steps in a directory."""

    directory: Path

    def records(self, name: str) -> list[Record]:
        """Records of a step; none where it was not run."""
        stored = self._stored(name)
        return [] if stored is None else list(stored["records"])

    def seconds(self) -> dict[str, float]:
        """Wall seconds of every step that there is."""
        return {
            path.stem: json.loads(path.read_text())["seconds"]
            for path in sorted(self.directory.glob("*.json"))
        }

    def machine(self) -> dict[str, Any]:
        """Of the newest step; empty where there is none."""
        newest = max(self.directory.glob("*.json"), key=lambda path: path.stat().st_mtime, default=None)
        return dict(json.loads(newest.read_text())["machine"]) if newest else {}

    def outdated(self) -> list[str]:
        """Steps that measured other code than the newest step did."""
        newest = self.machine().get("monitoring")
        found = {
            path.stem: json.loads(path.read_text())["machine"]
            for path in sorted(self.directory.glob("*.json"))
        }
        return [name for name, machine in found.items() if machine.get("monitoring") != newest]

    def finish(self, step: Step, *, fresh: bool = False) -> None:
        """Run a step, unless its results are there for the same plan; `fresh`: in any case."""
        stored = self._stored(step.name)
        if stored is not None and stored["plan"] == step.plan and not fresh:
            print(f"{step.name}: is there", flush=True)
            return
        print(f"{step.name}: {step.plan}", flush=True)
        started = time.monotonic()
        records = step.run()
        found = {
            "plan": step.plan,
            "seconds": time.monotonic() - started,
            "machine": machine(),
            "records": records,
        }
        unfinished = self._path(step.name).with_suffix(".unfinished")
        unfinished.write_text(json.dumps(found, indent=1), encoding="utf-8")
        unfinished.replace(self._path(step.name))

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.json"

    def _stored(self, name: str) -> dict[str, Any] | None:
        path = self._path(name)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "monitoring": code_digest(),
    } | versions


def code_digest() -> str:
    """Identifies the statistics that were measured: the start of the sha256 over the source of `monitoring`."""
    found = hashlib.sha256()
    for path in sorted(Path(monitoring.__file__).parent.glob("*.py")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
