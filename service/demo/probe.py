"""A second, paced client that asks the same texts again and again while versions change.

Every answer must be the answer of the version that it names: no mixture, no failure. Probes are marked as no traffic.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.client import ApiClient, CallFailed

INTERVAL_S = 0.2
DIFFERENT = 1e-2  # texts on which versions differ less cannot tell them apart
SAME = 1e-5

Scores = Mapping[str, float]


@dataclass(frozen=True)
class ProbeAnswer:
    """One answer to probe text `index`: the version it names and the probability of every label."""

    index: int
    version: int
    scores: Scores
    at: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Purity:
    """How well the answers agree with the versions they name.

    Attributes:
        answers: All probe answers.
        told_apart: Answers on texts where some two versions differ by at least `DIFFERENT`.
        largest_difference: Largest difference of a probability to the named version's own, over `told_apart`.
        impure: Answers that differ by more than `SAME`.
        unknown: Answers that name a version that was never asked directly.
        by_version: Answers by version.
    """

    answers: int
    told_apart: int
    largest_difference: float
    impure: int
    unknown: int
    by_version: dict[int, int]


class Prober:
    """A thread that probes; it keeps every answer and every failure."""

    def __init__(self, url: str, model: str, texts: Sequence[str]) -> None:
        self._client = ApiClient(url)
        self._model = model
        self._texts = tuple(texts)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self.answers: list[ProbeAnswer] = []
        self.failures: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(60.0)
        self._client.close()

    def _run(self) -> None:
        index = 0
        while not self._stopped.wait(INTERVAL_S):
            try:
                (answer,) = self._client.predict(self._model, [self._texts[index]], scores=True, sample=False)
                self.answers.append(ProbeAnswer(index, answer.version, answer.scores))
            except CallFailed as error:
                self.failures.append(str(error))
            index = (index + 1) % len(self._texts)


def expected_scores(client: ApiClient, model: str, texts: Sequence[str], version: int) -> tuple[Scores, ...]:
    """A version's own answers to the probe texts, asked one by one by its number. Raises CallFailed."""
    answers = [client.predict(model, [text], version=version, scores=True, sample=False)[0] for text in texts]
    return tuple(answer.scores for answer in answers)


def purity(answers: Sequence[ProbeAnswer], expected: Mapping[int, Sequence[Scores]]) -> Purity:
    """Hold every answer against the own answers of the version that it names."""
    n_texts = len(next(iter(expected.values()), ()))
    telling = {i for i in range(n_texts) if _spread([scores[i] for scores in expected.values()]) >= DIFFERENT}
    known = [answer for answer in answers if answer.version in expected]
    differences = [
        difference(answer.scores, expected[answer.version][answer.index])
        for answer in known
        if answer.index in telling
    ]
    return Purity(
        answers=len(answers),
        told_apart=len(differences),
        largest_difference=max(differences, default=0.0),
        impure=sum(each > SAME for each in differences),
        unknown=len(answers) - len(known),
        by_version=dict(sorted(Counter(answer.version for answer in answers).items())),
    )


def difference(one: Scores, other: Scores) -> float:
    """The largest difference of a label's probability; infinite when the labels differ."""
    if one.keys() != other.keys():
        return float("inf")
    return max(abs(one[label] - other[label]) for label in one)


def _spread(scores: Sequence[Scores]) -> float:
    return max((difference(one, other) for one in scores for other in scores), default=0.0)
