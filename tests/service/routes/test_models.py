"""GET /v1/models."""

from __future__ import annotations

from tests.fixtures.deployment import Deployment, RunningApi


def test_what_is_served_is_listed(api: RunningApi, shared_toy: Deployment) -> None:
    assert api.http.get("/v1/models").json() == {
        "models": [
            {
                "name": "toy",
                "labels": ["negative", "positive"],
                "champion": 2,
                "previous": 1,
                "challenger": None,
                "baseline": None,
                "versions": [1, 2],
                "generation": 2,
                "base": str(shared_toy.base_dir),
            }
        ]
    }
