"""Deletion over HTTP: from the prediction to nothing, also of what was still under way."""

from __future__ import annotations

from typing import Any

import pytest

from monitoring.intake import Intake
from service.sampling import item_id
from tests.fixtures.deployment import LABELS, Deployment, RunningApi, eventually
from trimtab.ledger import examples, samples
from trimtab.ledger.examples import Example
from trimtab.ledger.forget import forget
from trimtab.samples import SampleStream

PATH = "/admin/v1/samples"
NOTHING = {"predictions": 0, "feedback": 0, "label_requests": 0, "examples": {}}


def gone(api: RunningApi, **named: str) -> Any:
    answer = api.http.delete(PATH, params=named)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_prediction_is_forgotten_with_all_that_came_of_it(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running() as api:
        answer = api.predict(["forget me", "keep me"]).json()
        first, second = (each["id"] for each in answer["predictions"])
        take_in(api, 2)
        for each in (first, second):
            api.http.post("/v1/feedback", json={"prediction_id": each, "label": LABELS[0]})
        kept = Example(model="toy", domain="d", role="gate", text="forget me", key="k")
        with toy.ledger.begin() as tx:
            examples.add_examples(tx, [kept])
        assert gone(api, id=first) == NOTHING | {"predictions": 1, "feedback": 1, "examples": {"gate": 1}}
        assert gone(api, id=first) == NOTHING
        assert gone(api, id=answer["id"]) == NOTHING | {"predictions": 1, "feedback": 1}
        events = api.http.get("/admin/v1/events").json()["events"]
        assert [each["detail"]["predictions"] for each in events if each["kind"] == "samples_forgotten"] == [
            1,
            0,
            1,
        ]


def test_what_waits_in_redis_is_left_out_when_it_arrives(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running() as api:
        answers = [api.predict([text]).json()["id"] for text in ("forget me", "keep me")]
        with toy.ledger.begin() as tx:
            forget(tx, prediction_id=answers[0])
        take_in(api, 1)
        with toy.ledger.read() as tx:
            assert samples.get_prediction(tx, item_id(answers[0], 0)) is None
            assert samples.get_prediction(tx, item_id(answers[1], 0)) is not None


def test_a_client_is_forgotten(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running() as api:
        api.predict(["one", "two", "three"])
        take_in(api, 3)
        assert gone(api, client="nobody") == NOTHING
        assert gone(api, client="anonymous")["predictions"] == 3


@pytest.mark.parametrize("named", [{}, {"id": "a", "client": "b"}, {"id": ""}, {"client": "x" * 3000}])
def test_exactly_one_is_named(toy: Deployment, named: dict[str, str]) -> None:
    toy.create_model()
    with toy.running(ready=False) as api:
        assert api.http.delete(PATH, params=named).status_code == 422


def take_in(api: RunningApi, n: int) -> None:
    """What the monitor does with the samples, until so many are in the ledger."""
    serving = api.serving
    intake = Intake(serving.ledger, SampleStream(serving.redis))
    taken = 0

    def enough() -> bool:
        nonlocal taken
        taken += intake.take_in()
        return taken >= n

    eventually(enough, f"{n} samples")
