"""Who may do what: API keys with roles. Deny by default: a path that no rule names needs `operate`."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from starlette.types import Scope

from service.calls import ANONYMOUS
from trimtab.errors import SettingsError


class Role(StrEnum):
    """What a key may do; a key may have several."""

    PREDICT = "predict"
    FEEDBACK = "feedback"
    READ = "read"
    OPERATE = "operate"


@dataclass(frozen=True)
class Principal:
    """Who calls: the name of a key and its roles."""

    name: str
    roles: frozenset[str]


@dataclass(frozen=True)
class Refusal:
    """Why a call is not let through: 401 without a valid key, 403 without the role."""

    status: int
    reason: str


# No key needed, and no name of this server: load balancers and kubelets know neither.
HEALTH = frozenset({"/v2/health/live", "/v2/health/ready"})
# No key needed: whoami says what the caller's key is good for, if anything.
PUBLIC = HEALTH | {"/v1/whoami", "/", "/console"}
# The console's own files: the same for everybody, no data in them.
PUBLIC_BELOW = "/console/"
# (method, path or, when it ends with a slash, everything below it) -> role; the first that fits counts.
RULES: tuple[tuple[str, str, Role], ...] = (
    ("POST", "/v1/predict", Role.PREDICT),
    ("POST", "/v1/predict/stream", Role.PREDICT),
    ("POST", "/v2/models/", Role.PREDICT),
    ("POST", "/models/", Role.PREDICT),
    ("POST", "/v2/repository/index", Role.READ),
    ("POST", "/v1/feedback", Role.FEEDBACK),
    ("GET", "/v1/label-requests", Role.FEEDBACK),
    ("POST", "/v1/label-requests/", Role.FEEDBACK),
    ("GET", "/v1/models", Role.READ),
    ("GET", "/v1/drift/", Role.READ),
    ("GET", "/v1/traffic/", Role.READ),
    ("GET", "/v2", Role.READ),
    ("GET", "/v2/", Role.READ),
    ("GET", "/metrics", Role.READ),
    ("GET", "/docs", Role.READ),
    ("GET", "/openapi.json", Role.READ),
)
_EVERYBODY = Principal(ANONYMOUS, frozenset(Role))


def needed_role(method: str, path: str) -> Role | None:
    """The role that a call needs; None when it is public."""
    verb = "GET" if method == "HEAD" else method
    if verb == "GET" and (path in PUBLIC or path.startswith(PUBLIC_BELOW)):
        return None
    for rule_method, rule_path, role in RULES:
        below = rule_path.endswith("/") and path.startswith(rule_path)
        if verb == rule_method and (path == rule_path or below):
            return role
    return Role.OPERATE


def refusal(principal: Principal | None, method: str, path: str) -> Refusal | None:
    """Why this call is refused, None when it may pass."""
    role = needed_role(method, path)
    if role is None:
        return None
    if principal is None:
        return Refusal(401, "a valid API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY")
    if role not in principal.roles:
        return Refusal(403, f"this needs a key with the role `{role}`")
    return None


class Keyring:
    """The API keys in memory, by the sha256 of the key, so that no prediction waits for the database.

    The follower replaces its content; looking a digest up leaks nothing of the key by its timing.
    """

    def __init__(self, mode: str) -> None:
        self._open = mode == "off"
        self._principals: Mapping[str, Principal] = {}

    def replace(self, principals: Mapping[str, Principal]) -> None:
        """Sets all keys at once: {sha256 hex of the key: principal}."""
        self._principals = dict(principals)

    def find(self, key: str | None) -> Principal | None:
        """Who this key belongs to; everybody is allowed everything in mode `off`."""
        if self._open:
            return _EVERYBODY
        return self._principals.get(hashlib.sha256(key.encode()).hexdigest()) if key else None


def credentials_of(scope: Scope) -> str | None:
    """The key that a call carries, as `Authorization: Bearer` or `X-API-Key`."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    found = {
        name: value.decode("latin-1") for name, value in headers if name in {b"authorization", b"x-api-key"}
    }
    scheme, _, token = found.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return found.get(b"x-api-key")


def check_exposure(mode: str, host: str) -> None:
    """Refuses to serve without keys on an address that others can reach. Raises SettingsError."""
    if mode == "off" and not is_loopback(host):
        raise SettingsError(
            f"TRIMTAB_AUTH__MODE: `off` is allowed on a loopback address only, not on {host}: "
            "set it to `keys` and make one with `trimtab keys add`"
        )


def is_loopback(host: str) -> bool:
    """Whether this address or name is the machine itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
