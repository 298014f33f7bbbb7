"""Prediction: pick the version once, read the texts, compute, and say which version answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.batching import Batcher
from service.routing import Route, Routing
from trimtab import metrics
from trimtab.base import Encoded
from trimtab.bundle import ModelBundle
from trimtab.errors import InvalidInput
from trimtab.features import Floats, Outputs

# More than this is tokenised beside the event loop (some 2 ms).
_CHARACTERS_INLINE = 8192


@dataclass(frozen=True)
class Picked:
    """The version that a request was given: it answers all of it, whatever is swapped meanwhile."""

    bundle: ModelBundle
    # Generation of the table that it was picked from.
    generation: int


@dataclass(frozen=True)
class Prediction:
    """The answer to n texts: all of them by the same bundle."""

    bundle: ModelBundle
    # Generation of the table that the version was picked from.
    generation: int
    outputs: Outputs
    # (n, k), rows sum to 1.
    probabilities: Floats
    # Phase -> seconds: tokenize, queue, inference.
    timing: Mapping[str, float] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The n predicted labels."""
        return tuple(self.bundle.labels[i] for i in self.probabilities.argmax(axis=1))

    @property
    def scores(self) -> tuple[float, ...]:
        """The n probabilities of the predicted labels."""
        return tuple(float(score) for score in self.probabilities.max(axis=1))


class Engine:
    """Answers requests with what the routing table says at the moment they come in."""

    def __init__(self, routing: Routing, batcher: Batcher, deadline_s: float) -> None:
        self._routing = routing
        self._batcher = batcher
        self._deadline_s = deadline_s

    def route(self, model: str | None) -> Route:
        """The present route of a model, of the only one for None. Raises ModelNotFound, NotReady, InvalidInput."""
        return self._routing.table.route(model)

    def pick(self, model: str | None, version: int | str | None = None, asker: str | None = None) -> Picked:
        """The version that answers, as `Route.pick` says. Raises what `route` and `Route.pick` raise."""
        route = self.route(model)
        return Picked(route.pick(version, asker), route.generation)

    async def predict(
        self,
        picked: Picked,
        texts: Sequence[str],
        *,
        domains: Sequence[str | None] = (),
        truncate: bool = True,
        deadline_s: float | None = None,
        client: str = "",
    ) -> Prediction:
        """Predictions for n texts by the version that was picked.

        Args:
            domains: one a text, for a version that is centred by domain; empty: none is known.
            truncate: whether a text that is too long is cut; else it is refused.
            deadline_s: a shorter deadline than the configured one.
            client: whose turn it costs.

        Raises:
            NotReady, InvalidInput, Overloaded, DeadlineExceeded.
        """
        bundle = picked.bundle
        started = time.perf_counter()
        encoded = await _read(bundle, texts)
        tokenize_s = time.perf_counter() - started
        if not truncate:
            _refuse_cut(encoded, bundle.max_tokens)
        limit_s = min(self._deadline_s, deadline_s or self._deadline_s)
        computed = await self._batcher.submit(bundle, encoded, limit_s, client)
        probabilities = bundle.probabilities(computed.outputs.logits, domains)
        timing = {"tokenize": tokenize_s, "queue": computed.queue_s, "inference": computed.compute_s}
        prediction = Prediction(bundle, picked.generation, computed.outputs, probabilities, timing)
        for label in prediction.labels:
            metrics.PREDICTIONS.labels(bundle.model, str(bundle.version), label).inc()
        return prediction


async def _read(bundle: ModelBundle, texts: Sequence[str]) -> Encoded:
    if sum(map(len, texts)) <= _CHARACTERS_INLINE:
        return bundle.encode(texts)
    return await asyncio.to_thread(bundle.encode, texts)


def _refuse_cut(encoded: Encoded, max_tokens: int) -> None:
    """Raises InvalidInput when a text has more tokens than the model reads."""
    if any(encoded.cut):
        raise InvalidInput(f"inputs.{encoded.cut.index(True)}: more than {max_tokens} tokens")
