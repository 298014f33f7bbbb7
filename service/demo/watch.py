"""What the demo sees of the machine while it runs: drift and jobs through the API, a few times a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from service.client import ApiClient, CallFailed

POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class View:
    """The machine at one moment.

    Attributes:
        at: Monotonic seconds.
        state: The monitor's state.
        ratio: Largest statistic over its threshold; above 1 is an alarm.
        events_seen, alarms_total: As the monitor counts.
        champion: The version that the API serves.
        jobs: Newest first, as the API shows them.
    """

    at: float = 0.0
    state: str = "collecting"
    ratio: float = 0.0
    events_seen: int = 0
    alarms_total: int = 0
    champion: int = 0
    domains: tuple[str, ...] = ()
    jobs: tuple[dict[str, Any], ...] = field(default_factory=tuple)

    @property
    def job(self) -> dict[str, Any] | None:
        """The newest job."""
        return self.jobs[0] if self.jobs else None

    @property
    def training(self) -> bool:
        return self.job is not None and self.job["status"] in {"queued", "running"}


FINAL = frozenset({"promoted", "rejected", "held", "failed", "cancelled", "timed_out"})


class Watcher:
    """A thread that keeps the newest view, and wakes whoever waits for one."""

    def __init__(self, url: str, model: str) -> None:
        self._client = ApiClient(url)
        self._model = model
        self._changed = threading.Condition()
        self._view = View()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self.failures: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(10.0)
        self._client.close()

    @property
    def view(self) -> View:
        return self._view

    def wait_for(self, wanted: Callable[[View], bool], timeout_s: float) -> bool:
        """Whether a view was as wanted before the time was over."""
        with self._changed:
            return self._changed.wait_for(lambda: wanted(self._view), timeout_s)

    def _run(self) -> None:
        while not self._stopped.wait(POLL_S):
            try:
                view = look(self._client, self._model)
            except CallFailed as error:
                self.failures.append(str(error))
                continue
            with self._changed:
                self._view = view
                self._changed.notify_all()


def look(client: ApiClient, model: str) -> View:
    """Ask the API how things stand. Raises CallFailed."""
    drift = client.call("GET", f"/v1/drift/{model}")
    jobs = client.call("GET", f"/admin/v1/jobs?model={model}&limit=20")["jobs"]
    served = [each for each in client.call("GET", "/v1/models")["models"] if each["name"] == model]
    return View(
        at=time.monotonic(),
        state=drift["state"],
        ratio=max((arm["statistic"] / arm["threshold"] for arm in drift["arms"]), default=0.0),
        events_seen=drift["events_seen"],
        alarms_total=drift["alarms_total"],
        champion=served[0]["champion"] if served else 0,
        domains=tuple(drift["reference"]["domains"]),
        jobs=tuple(jobs),
    )


def all_reports(client: ApiClient, model: str) -> list[dict[str, Any]]:
    """Every report of the monitor, oldest first. Raises CallFailed."""
    found: list[dict[str, Any]] = []
    page = client.call("GET", f"/v1/drift/{model}/reports?limit=500")["reports"]
    while page:
        found += page
        page = client.call("GET", f"/v1/drift/{model}/reports?limit=500&after={page[-1]['id']}")["reports"]
    return found[::-1]


def differences(before: View, after: View) -> list[str]:
    """What changed between two views, in sentences for people."""
    said = []
    if after.champion != before.champion and before.champion:
        said.append(f"version {after.champion} serves (before: {before.champion})")
    if after.state != before.state:
        said.append(f"drift: {after.state} (statistic over threshold {after.ratio:.2f})")
    known = {job["id"]: job["status"] for job in before.jobs}
    news = [job for job in reversed(after.jobs) if known.get(job["id"]) != job["status"]]
    said += [
        f"job {job['id'][:8]}: {job['status']}" + (f": {job['reason']}" if job["reason"] else "")
        for job in news
    ]
    return said
