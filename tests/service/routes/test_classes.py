"""Classes over HTTP: what may be said, and what is known."""

from __future__ import annotations

from tests.fixtures.deployment import LABELS, Deployment

URL = "/admin/v1/models/toy/labels"


def test_a_class_is_declared_once_and_not_known_before_it_is_taught(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running() as api:
        before = {"model": "toy", "labels": list(LABELS), "taught": list(LABELS)}
        assert api.http.get(URL).json() == before
        after = before | {"labels": [*LABELS, "neutral"]}
        assert api.http.post(URL, json={"label": "neutral"}).json() == after
        assert api.http.get(URL).json() == after
        again = api.http.post(URL, json={"label": "neutral"})
        assert (again.status_code, again.json()["type"]) == (409, "urn:trimtab:problem:conflict")
        event = api.http.get("/admin/v1/events", params={"model": "toy"}).json()["events"][-1]
        assert (event["kind"], event["detail"]["label"]) == ("label_declared", "neutral")
        assert event["actor"] != "system"


def test_what_cannot_be_a_class_is_refused(toy: Deployment) -> None:
    toy.create_model()
    toy.add_version(1)
    with toy.running() as api:
        for label in (" neutral", "a\nb", "a\x00b"):
            assert api.http.post(URL, json={"label": label}).status_code == 422
        for body in ({"label": ""}, {"label": "x" * 101}, {"label": "x", "more": 1}, {}):
            assert api.http.post(URL, json=body).status_code == 422
        assert api.http.post("/admin/v1/models/no/labels", json={"label": "x"}).status_code == 404
        assert api.http.get(URL).json()["labels"] == list(LABELS)
