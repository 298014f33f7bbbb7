"""What the version on trial would have answered: computed after the champion's answer went out, and seen by nobody.

It runs in the sampler's thread on one core, a few texts at a time, and only while no request waits or is computed: it
gives way within one short pass. What there is no time for is skipped, a sample without a shadow is as good as any.
The thread keeps its ordinary priority: a thread that holds the interpreter's lock and is kept off the processor would
make the requests wait for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from service.batching import split
from service.routing import Routing
from trimtab import metrics
from trimtab.base import Encoded
from trimtab.bundle import ModelBundle
from trimtab.trial import Stage

# Of one pass: it costs about what one request costs. Longer ones would cost less in all, and keep a request waiting.
PASS_ITEMS, PASS_TOKENS = 16, 64
# Version, label and its probability, as a sample has it.
ShadowAnswer = tuple[int, str, float]
_log = logging.getLogger(__name__)


class Shadow:
    """Asks the version on trial, and remembers which one failed: that one is not asked again. For one thread."""

    def __init__(self, routing: Routing, is_idle: Callable[[], bool]) -> None:
        """is_idle: whether no request waits for the cores."""
        self._routing = routing
        self._is_idle = is_idle
        self._failures: dict[tuple[str, int], str] = {}

    def failure(self, model: str, version: int) -> str | None:
        """Why a version on trial could not answer here; for any thread."""
        return self._failures.get((model, version))

    def answers(
        self,
        champion: ModelBundle,
        texts: Sequence[str],
        domains: Sequence[str | None],
        has_room: Callable[[], bool],
    ) -> list[ShadowAnswer | None]:
        """(n,) what the version on trial makes of texts that this champion answered; None where it was not asked.

        Args:
            champion: The version that answered.
            texts, domains: (n,) each.
            has_room: Whether what is behind these texts can wait.
        """
        challenger = self._challenger_of(champion)
        if challenger is None or not texts:
            return [None] * len(texts)
        found: list[ShadowAnswer] = []
        try:
            for part in self._passes(challenger, texts, has_room):
                found += _answer(challenger, part, domains[len(found) : len(found) + len(part)])
        except Exception as error:  # noqa: BLE001  # whatever it is, the sample goes on its way and the trial is told
            self._fail(challenger, error, len(texts) - len(found))
        else:
            _count(challenger, "skipped", len(texts) - len(found))
        _count(challenger, "answered", len(found))
        return [*found, *[None] * (len(texts) - len(found))]

    def _challenger_of(self, champion: ModelBundle) -> ModelBundle | None:
        """The version that runs unseen beside this champion, unless it failed here."""
        route = self._routing.table.routes.get(champion.model)
        if route is None or route.trial is None or route.trial.stage is not Stage.SHADOW:
            return None
        if route.champion is not champion or self.failure(route.model, route.trial.version):
            return None
        return route.challenger

    def _passes(
        self, challenger: ModelBundle, texts: Sequence[str], has_room: Callable[[], bool]
    ) -> Iterator[Encoded]:
        """The texts in short passes, for as long as there is time."""
        if not (self._is_idle() and has_room()):
            return
        for part in split(challenger.encode(texts), PASS_ITEMS, PASS_TOKENS):
            if not (self._is_idle() and has_room()):
                return
            yield part

    def _fail(self, challenger: ModelBundle, error: Exception, n: int) -> None:
        model, version = challenger.model, challenger.version
        # An error's text may hold what was asked.
        self._failures[model, version] = f"on trial it could not answer: {type(error).__name__}"
        _count(challenger, "failed", n)
        detail = {"model": model, "version": version}
        _log.warning(
            "version %d of %s, on trial, cannot answer", version, model, exc_info=error, extra=detail
        )


def _answer(challenger: ModelBundle, encoded: Encoded, domains: Sequence[str | None]) -> list[ShadowAnswer]:
    """Raises FloatingPointError when a probability is not finite."""
    probabilities = challenger.probabilities(challenger.run(encoded).logits, domains)
    if not np.isfinite(probabilities).all():
        raise FloatingPointError
    chosen = probabilities.argmax(axis=1)
    return [
        (challenger.version, challenger.labels[i], float(row[i]))
        for i, row in zip(chosen.tolist(), probabilities, strict=True)
    ]


def _count(challenger: ModelBundle, result: str, n: int) -> None:
    metrics.SHADOW_ANSWERS.labels(challenger.model, result).inc(n)
