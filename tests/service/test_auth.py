"""Who may do what: every route with every role, keys that come and go, and no open door by accident."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from service.app import create_app
from service.auth import PUBLIC, PUBLIC_BELOW, Role, check_exposure, needed_role
from service.valkey import ValkeyServer
from tests.fixtures.deployment import Deployment, RunningApi, deployment, eventually
from trimtab.errors import SettingsError
from trimtab.ledger import keys
from trimtab.settings import AuthSettings, ServerSettings, Settings

# What every route needs, said a second time on purpose: a new route must be put here.
EXPECTED = {
    ("POST", "/v1/predict"): "predict",
    ("POST", "/v1/predict/stream"): "predict",
    ("POST", "/v2/models/{model}/infer"): "predict",
    ("POST", "/v2/models/{model}/versions/{version}/infer"): "predict",
    ("POST", "/models/{model}"): "predict",
    ("POST", "/v2/repository/index"): "read",
    ("POST", "/v1/feedback"): "feedback",
    ("GET", "/v1/label-requests"): "feedback",
    ("POST", "/v1/label-requests/{request_id}"): "feedback",
    ("POST", "/v1/label-requests/webhook/label-studio"): "feedback",
    ("GET", "/v1/models"): "read",
    ("GET", "/v1/traffic/{model}"): "read",
    ("GET", "/v1/drift/{model}"): "read",
    ("GET", "/v1/drift/{model}/reports"): "read",
    ("GET", "/v1/drift/{model}/reports/{report_id}"): "read",
    ("GET", "/v2"): "read",
    ("GET", "/v2/"): "read",
    # The console's files hold no data, and whoami says nothing that the caller did not bring.
    ("GET", "/"): None,
    ("GET", "/console"): None,
    ("GET", "/console/{path:path}"): None,
    ("GET", "/v1/whoami"): None,
    ("GET", "/v2/health/live"): None,
    ("GET", "/v2/health/ready"): None,
    ("GET", "/v2/models/{model}"): "read",
    ("GET", "/v2/models/{model}/ready"): "read",
    ("GET", "/v2/models/{model}/versions/{version}"): "read",
    ("GET", "/v2/models/{model}/versions/{version}/ready"): "read",
    ("GET", "/metrics"): "read",
    ("GET", "/docs"): "read",
    ("GET", "/openapi.json"): "read",
    ("GET", "/admin/v1/models/{model}/versions"): "operate",
    ("GET", "/admin/v1/models/{model}/versions/{version}"): "operate",
    ("PUT", "/admin/v1/models/{model}/aliases/{alias}"): "operate",
    ("DELETE", "/admin/v1/models/{model}/aliases/{alias}"): "operate",
    ("POST", "/admin/v1/models/{model}/rollback"): "operate",
    ("GET", "/admin/v1/models/{model}/labels"): "operate",
    ("POST", "/admin/v1/models/{model}/labels"): "operate",
    ("POST", "/admin/v1/models/{model}/adapt"): "operate",
    ("POST", "/admin/v1/models/{model}/drift/acknowledge"): "operate",
    ("GET", "/admin/v1/jobs"): "operate",
    ("GET", "/admin/v1/jobs/{job_id}"): "operate",
    ("POST", "/admin/v1/jobs/{job_id}/cancel"): "operate",
    ("POST", "/admin/v1/alerts"): "operate",
    ("DELETE", "/admin/v1/samples"): "operate",
    ("GET", "/admin/v1/replicas"): "operate",
    ("GET", "/admin/v1/events"): "operate",
}


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """(method, path) of everything that the app answers."""
    found = set()
    for context in iter_route_contexts(app.routes):
        for method in context.methods or ():
            if method != "HEAD" or isinstance(context.route, APIRoute):
                found.add((method, context.path or ""))
    return found


@pytest.fixture(scope="module")
def keyed(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path, valkey: ValkeyServer
) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("keyed")
    with deployment(home, tiny_base_dir, valkey.url, auth=AuthSettings(mode="keys")) as made:
        made.create_model()
        made.add_version(1)
        yield made


@pytest.fixture(scope="module")
def api(keyed: Deployment) -> Iterator[RunningApi]:
    with keyed.running() as running:
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_every_route_is_listed_with_its_role(api: RunningApi) -> None:
    assert routes_of(api.app) == set(EXPECTED)
    public = {path for (_, path), role in EXPECTED.items() if role is None}
    assert public == PUBLIC | {f"{PUBLIC_BELOW}{{path:path}}"}


def test_every_route_lets_exactly_its_role_in(keyed: Deployment, api: RunningApi) -> None:
    tickets = {str(role): keyed.add_key(f"only-{role}", role) for role in Role}
    eventually(lambda: all(_known(api, key) for key in tickets.values()), "the keys")
    for (method, path), needed in EXPECTED.items():
        url = path.replace("{path:path}", "index.html").format(
            model="nobody", version="7", report_id="x", alias="champion", job_id="x", request_id="x"
        )
        anonymous = api.http.request(method, url).status_code
        assert (anonymous == 401) == (needed is not None), (method, path)
        for role, key in tickets.items():
            status = api.http.request(method, url, headers=bearer(key)).status_code
            let_in = status not in {401, 403}
            assert let_in == (needed in {None, role}), (method, path, role, status)


def _known(api: RunningApi, key: str) -> bool:
    return api.http.get("/no/such/path", headers=bearer(key)).status_code != 401


@pytest.mark.parametrize(
    "path",
    [
        "//v1/predict",
        "/v1/predict/",
        "/v1/%70redict/x",
        "/V1/predict",
        "/v2/health/live/",
        "/v2/health/../x",
        "/x",
    ],
)
def test_odd_paths_are_closed(api: RunningApi, path: str) -> None:
    response = httpx.post(api.url + path)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json()["type"] == "urn:trimtab:problem:unauthenticated"


def test_no_key_means_that_not_even_the_body_is_read(api: RunningApi) -> None:
    response = api.http.post("/v1/predict", content=b"{", headers={"Content-Type": "application/json"})
    assert response.status_code == 401


def test_a_missing_role_is_named(keyed: Deployment, api: RunningApi) -> None:
    key = keyed.add_key("reader", "read")
    eventually(lambda: _known(api, key), "the key")
    response = api.http.post("/v1/predict", json={"inputs": "a"}, headers=bearer(key))
    assert response.status_code == 403
    assert "`predict`" in response.json()["detail"]


def test_both_headers_work_and_the_key_names_the_client(keyed: Deployment, api: RunningApi) -> None:
    key = keyed.add_key("app-1", "predict", "feedback")
    eventually(lambda: _known(api, key), "the key")
    for headers in (bearer(key), {"X-API-Key": key}, {"authorization": f"bearer  {key}"}):
        assert api.http.post("/v1/predict", json={"inputs": "a"}, headers=headers).status_code == 200
    for wrong in (bearer(key + "x"), {"Authorization": f"Basic {key}"}, {"X-API-Key": ""}):
        assert api.http.post("/v1/predict", json={"inputs": "a"}, headers=wrong).status_code == 401


def test_a_revoked_key_is_worthless_within_a_poll(keyed: Deployment, api: RunningApi) -> None:
    key = keyed.add_key("leaver", "predict")
    eventually(lambda: _known(api, key), "the key")
    with keyed.ledger.begin() as tx:
        keys.revoke_key(tx, "leaver")
    eventually(lambda: not _known(api, key), "the end of the key")


def test_head_needs_what_get_needs_and_unknown_methods_need_operate() -> None:
    assert needed_role("HEAD", "/v1/models") is Role.READ
    assert needed_role("HEAD", "/v2/health/live") is None
    assert needed_role("DELETE", "/v2/health/live") is Role.OPERATE
    assert needed_role("OPTIONS", "/v1/predict") is Role.OPERATE
    assert needed_role("GET", "/v1/models/x") is Role.OPERATE


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_without_keys_loopback_is_allowed(host: str) -> None:
    check_exposure("off", host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", ""])  # noqa: S104
def test_without_keys_other_addresses_stop_the_start(host: str, tmp_path: Path) -> None:
    check_exposure("keys", host)
    with pytest.raises(SettingsError, match="TRIMTAB_AUTH__MODE"):
        create_app(Settings(home=tmp_path, server=ServerSettings(host=host)))
