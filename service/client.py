"""A small typed client of the REST interface, for `trimtab replay` and the demo."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx

from trimtab.errors import TrimtabError


class CallFailed(TrimtabError):
    """The API refused a call or could not be reached."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to one text.

    Attributes:
        prediction_id: What feedback names.
        label, score: Predicted label and its probability.
        scores: Probability of every label, if they were asked for.
        version, generation: The version that the answer names, and the generation it was picked from.
        seconds: Time from sending to having read the answer.
    """

    prediction_id: str
    label: str
    score: float
    scores: Mapping[str, float]
    version: int
    generation: int
    seconds: float


@dataclass(frozen=True)
class Label:
    """One true label for one prediction."""

    prediction_id: str
    label: str


class ApiClient:
    """One connection to the API; not safe to share between threads."""

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = 30.0) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def predict(
        self,
        model: str,
        texts: Sequence[str],
        *,
        version: int | str | None = None,
        domains: Sequence[str | None] | None = None,
        groups: Sequence[str | None] | None = None,
        scores: bool = False,
        sample: bool = True,
    ) -> list[Answer]:
        """Answers to n texts, in their order, all by one version.

        Args:
            sample: whether the monitor may see these texts; False for probes and comparisons, which are no traffic.

        Raises:
            CallFailed: any status but 200, or no answer.
        """
        items = [
            {"text": text} | _named("domain", domains, i) | _named("group", groups, i)
            for i, text in enumerate(texts)
        ]
        body: dict[str, Any] = {"model": model, "inputs": items}
        if version is not None:
            body["version"] = version
        parameters = ({"return": ["scores"]} if scores else {}) | ({} if sample else {"sample": False})
        if parameters:
            body["parameters"] = parameters
        started = time.perf_counter()
        answer = self.call("POST", "/v1/predict", body)
        return _answers(answer, time.perf_counter() - started)

    def feedback(self, labels: Sequence[Label]) -> dict[str, Any]:
        """Send labels; returns the counts of the answer. Raises CallFailed."""
        body = [{"prediction_id": label.prediction_id, "label": label.label} for label in labels]
        return self.call("POST", "/v1/feedback", body)

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Any call with a JSON answer. Raises CallFailed with the problem's detail."""
        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise CallFailed(f"{method} {path}: {type(error).__name__} {error}".rstrip()) from None
        if response.is_error:
            raise CallFailed(f"{method} {path}: {response.status_code} {_detail(response)}")
        answer: dict[str, Any] = response.json()
        return answer


def _named(name: str, values: Sequence[str | None] | None, index: int) -> dict[str, str]:
    value = values[index] if values is not None else None
    return {name: value} if value is not None else {}


def _answers(body: Mapping[str, Any], seconds: float) -> list[Answer]:
    return [
        Answer(
            prediction_id=item["id"],
            label=item["label"],
            score=item["score"],
            scores=item.get("scores") or {},
            version=body["model_version"],
            generation=body["generation"],
            seconds=seconds,
        )
        for item in body["predictions"]
    ]


def _detail(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return response.text[:200]
    return (
        str(body.get("detail") or body.get("title") or body)[:300]
        if isinstance(body, dict)
        else str(body)[:300]
    )
