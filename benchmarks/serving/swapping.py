"""Changes of what is served, through the admin API, each awaited until the replica serves it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from benchmarks.serving.processes import rss_bytes

OBSERVED_S = 30.0
# How often the replica is asked what it serves; asking oftener would itself be load.
POLL_S = 0.02
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Swap:
    """One change.

    Attributes:
        kind: "promote" or "rollback".
        version: Champion afterwards.
        at_s: When it was ordered, on the machine's monotonic clock.
        answered_s: Seconds until the order was answered: HTTP and the ledger's commit.
        seconds: From the order until the replica served it.
        rss_mb: Resident memory of the API process then.
    """

    kind: str
    version: int
    at_s: float
    answered_s: float
    seconds: float
    rss_mb: float


class Operator:
    """Promotes and rolls back at random, but in the same order for the same seed."""

    def __init__(self, url: str, model: str, versions: Sequence[int], api_pid: int, seed: int) -> None:
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._model = model
        self._versions = tuple(versions)
        self._pid = api_pid
        self._random = random.Random(seed)
        self._state = self._http.get(f"/admin/v1/models/{model}/versions").raise_for_status().json()

    def close(self) -> None:
        self._http.close()

    def swap(self) -> Swap:
        """Steps back to the previous champion now and then, else promotes another version."""
        aliases = self._state["aliases"]
        if "previous" in aliases and self._random.random() < 0.4:
            return self.roll_back()
        others = [n for n in self._versions if n != aliases["champion"]]
        return self.promote(self._random.choice(others))

    def promote(self, version: int) -> Swap:
        started = time.monotonic()
        answer = self._http.put(
            f"/admin/v1/models/{self._model}/aliases/champion",
            json={"version": version, "reason": "soak"},
            headers={"If-Match": f'"{self._state["generation"]}"'},
        )
        return self._await("promote", answer, started)

    def ensure(self, version: int) -> None:
        """This version is champion, whatever was."""
        if self._state["aliases"]["champion"] != version:
            self.promote(version)

    def roll_back(self, poll_s: float = POLL_S) -> Swap:
        started = time.monotonic()
        answer = self._http.post(f"/admin/v1/models/{self._model}/rollback", json={"reason": "soak"})
        return self._await("rollback", answer, started, poll_s)

    def ask(self, text: str) -> list[dict[str, object]]:
        """The predictions for one text that waits for nobody else's."""
        body = {"model": self._model, "inputs": [text], "parameters": {"return": ["scores", "embedding"]}}
        answer = self._http.post("/v1/predict", json=body).raise_for_status().json()
        return [
            {key: each[key] for key in ("label", "scores", "embedding")} for each in answer["predictions"]
        ]

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by `name{labels}`."""
        return read_metrics(self._http.get("/metrics").raise_for_status().text)

    def _await(self, kind: str, answer: httpx.Response, started: float, poll_s: float = POLL_S) -> Swap:
        answered_s = time.monotonic() - started
        self._state = answer.raise_for_status().json()
        while self._generation() < self._state["generation"]:
            if time.monotonic() - started > OBSERVED_S:
                raise TimeoutError(f"the replica did not follow to generation {self._state['generation']}")
            time.sleep(poll_s)
        seconds = time.monotonic() - started
        champion: int = self._state["aliases"]["champion"]
        return Swap(kind, champion, started, answered_s, seconds, rss_bytes([self._pid]) / 1e6)

    def _generation(self) -> int:
        listed = self._http.get("/v1/models").raise_for_status().json()["models"]
        return int(next(each["generation"] for each in listed if each["name"] == self._model))


def read_metrics(text: str) -> dict[str, float]:
    """Samples of the Prometheus text format by `name{labels}`."""
    return {
        f"{name}{{{labels}}}" if labels else name: float(value)
        for name, labels, value in _SAMPLE.findall(text)
    }
