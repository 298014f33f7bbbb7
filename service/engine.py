"""Prediction: pick the version once, compute, and say which version answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.batching import Batcher
from service.routing import Route, Routing
from trimtab import metrics
from trimtab.bundle import ModelBundle
from trimtab.errors import InvalidInput
from trimtab.features import Floats, Outputs


@dataclass(frozen=True)
class Prediction:
    """The answer to n texts: all of them by the same bundle."""

    bundle: ModelBundle
    # Generation of the table that the version was picked from.
    generation: int
    outputs: Outputs
    # (n, k), rows sum to 1.
    probabilities: Floats

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

    async def predict(
        self,
        model: str | None,
        version: int | str | None,
        texts: Sequence[str],
        *,
        truncate: bool = True,
        deadline_s: float | None = None,
    ) -> Prediction:
        """Predictions for n texts by one version.

        Args:
            version: number or alias; None means the champion.
            truncate: whether a text that is too long is cut; else it is refused.
            deadline_s: a shorter deadline than the configured one.

        Raises:
            ModelNotFound, NotReady, VersionNotLoaded, InvalidInput, Overloaded, DeadlineExceeded.
        """
        route = self.route(model)
        bundle = route.pick(version)
        if not truncate:
            _refuse_long_texts(bundle, texts)
        limit_s = min(self._deadline_s, deadline_s or self._deadline_s)
        outputs = await self._batcher.submit(bundle, texts, limit_s)
        prediction = Prediction(bundle, route.generation, outputs, bundle.probabilities(outputs.logits))
        for label in prediction.labels:
            metrics.PREDICTIONS.labels(bundle.model, str(bundle.version), label).inc()
        return prediction


def _refuse_long_texts(bundle: ModelBundle, texts: Sequence[str]) -> None:
    """Raises InvalidInput when a text has more tokens than the model reads."""
    for i, n_tokens in enumerate(bundle.base.count_tokens(texts)):
        if n_tokens > bundle.max_tokens:
            raise InvalidInput(f"inputs.{i}: more than {bundle.max_tokens} tokens")
