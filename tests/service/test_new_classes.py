"""A swap to a version that knows one class more, and back: every answer has the classes of the version it names."""

from __future__ import annotations

from tests.fixtures.deployment import LABELS, Deployment, RunningApi
from tests.fixtures.versions import make_version

MORE = (*LABELS, "neutral")


def scores_of(api: RunningApi) -> set[str]:
    answer = api.predict("a good film", parameters={"return": ["scores"]}).json()
    return set(answer["predictions"][0]["scores"])


def shape_of(api: RunningApi) -> list[int]:
    """Of the probabilities, as the Open Inference Protocol tells it."""
    outputs = api.http.get("/v2/models/toy").json()["outputs"]
    return next(list(each["shape"]) for each in outputs if each["name"] == "probabilities")


def test_one_class_more_and_back(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running(poll_s=0.02) as api:
        assert (scores_of(api), shape_of(api)[-1]) == (set(LABELS), 2)
        toy.add_version(2, files=make_version(toy.base, toy.key, version=2, labels=MORE, seed=2))
        api.wait_for(2)
        assert (scores_of(api), shape_of(api)[-1]) == (set(MORE), 3)
        toy.promote(1)
        api.wait_for(1)
        assert (scores_of(api), shape_of(api)[-1]) == (set(LABELS), 2)
