"""How each server is asked for one text, and where its answer holds the probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LABELS = ("negative", "positive")


@dataclass(frozen=True)
class Dialect:
    """One server's request and answer.

    Attributes:
        path: Where the request is posted.
        body: A text -> the JSON body.
        scores: The JSON answer -> the probabilities in the order of LABELS.
    """

    path: str
    body: Callable[[str], Any]
    scores: Callable[[Any], list[float]]

    def request(self, text: str) -> bytes:
        """The whole HTTP/1.1 request."""
        content = json.dumps(self.body(text)).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode("ascii") + content


def _trimtab_body(text: str) -> Any:
    return {"inputs": [text], "parameters": {"return": ["scores"]}}


def _trimtab_scores(answer: Any) -> list[float]:
    return [answer["predictions"][0]["scores"][label] for label in LABELS]


def _infinity_scores(answer: Any) -> list[float]:
    found = {each["label"]: each["score"] for each in answer["data"][0]}
    return [found[label] for label in LABELS]


def _mlserver_body(text: str) -> Any:
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}


DIALECTS = {
    "trimtab": Dialect("/v1/predict", _trimtab_body, _trimtab_scores),
    "trimtab-int8": Dialect("/v1/predict", _trimtab_body, _trimtab_scores),
    "plain": Dialect("/predict", lambda text: {"text": text}, lambda answer: answer["scores"]),
    "litserve": Dialect("/predict", lambda text: {"text": text}, lambda answer: answer["scores"]),
    "infinity": Dialect("/classify", lambda text: {"input": [text], "model": "bench"}, _infinity_scores),
    "bentoml": Dialect("/predict", lambda text: {"texts": [text]}, lambda answer: answer[0]),
    "mlserver": Dialect(
        "/v2/models/bench/infer", _mlserver_body, lambda answer: answer["outputs"][0]["data"]
    ),
    "ray": Dialect("/predict", lambda text: {"text": text}, lambda answer: answer["scores"]),
}
