"""The outermost layers of every HTTP call: its id, the clock, the log line, who may call, how much may be sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth import HEALTH, Keyring, credentials_of, is_loopback, refusal
from service.calls import Call, begin_call, call_of
from service.problems import answer_with, http_problem, problem
from trimtab import metrics

BODYLESS = frozenset({"GET", "HEAD", "OPTIONS"})

_access_log = logging.getLogger("service.access")


class Edge:
    """Gives a call its id, times, counts and logs it (never its payload), and answers what nobody foresaw with 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = begin_call(scope)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                message["headers"] = [*message["headers"], *_own_headers(call)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001  # the last layer: its caller would only close the connection
            _access_log.exception("unexpected error", exc_info=error, extra={"request_id": call.request_id})
            if not status:
                detail = "see the log for this request id"
                answer = answer_with(problem(500, "internal", "Internal error", detail, call.request_id))
                await answer(scope, receive, send_with_id)
        finally:
            _account(scope, call, status)


class Screen:
    """Refuses what no client of ours sends: a foreign Host (DNS rebinding) or Origin, a path that is no text.

    Without keys everybody on this machine is trusted, and so would be a browser that shows somebody else's page.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], *, trusting: bool) -> None:
        """hosts: names that a call may be for; when empty, any, or if trusting (no keys) this machine's own."""
        self._app = app
        self._hosts = frozenset(hosts)
        self._trusting = trusting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refusal(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
        else:
            await http_problem(*refused, call_of(scope).request_id)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        if not scope["path"].isprintable():
            return 404, "there is no such path"
        host, origin = header_of(scope, b"host").lower(), header_of(scope, b"origin").lower()
        if not self._is_ours(_name_of(host)) and scope["path"] not in HEALTH:
            return 421, "this server does not answer for that Host: see TRIMTAB_SERVER__HOSTS"
        if self._trusting and origin and origin.partition("://")[2] != host:
            return 403, "without keys, calls from other web sites are not answered"
        return None

    def _is_ours(self, name: str) -> bool:
        if self._hosts:
            return name in self._hosts
        return not self._trusting or is_loopback(name)


class Guard:
    """Lets a call through when its key has the role that the path needs; deny by default."""

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        self._app = app
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = call_of(scope)
        principal = self._keyring.find(credentials_of(scope))
        refused = refusal(principal, scope["method"], scope["path"])
        if refused is not None:
            headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else None
            await http_problem(refused.status, refused.reason, call.request_id, headers)(scope, receive, send)
            return
        if principal is not None:
            call.client, call.roles = principal.name, principal.roles
        await self._app(scope, receive, send)


class BodyLimit:
    """Reads the body up to a limit, before anything parses it; counted while it streams."""

    def __init__(self, app: ASGIApp, max_bytes: int, larger: Mapping[str, int]) -> None:
        """larger: path -> bytes, where the limit is another one."""
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in BODYLESS:
            await self._app(scope, receive, send)
            return
        if header_of(scope, b"content-encoding") not in {"", "identity"}:
            refused = http_problem(415, "compressed bodies are not read", call_of(scope).request_id)
            await refused(scope, receive, send)
            return
        limit = self._larger.get(scope["path"], self._max_bytes)
        body = None if _announced_length(scope) > limit else await _read(receive, limit)
        if body is None:
            metrics.REJECTED.labels("too_large").inc()
            detail = f"the body may have {limit} bytes"
            answer = http_problem(413, detail, call_of(scope).request_id, {"Connection": "close"})
            await answer(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)


async def _read(receive: Receive, max_bytes: int) -> bytes | None:
    """The body; None when it is longer than allowed. A client that goes away leaves what it sent."""
    parts: list[bytes] = []
    total, more = 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        total += len(parts[-1])
        if total > max_bytes:
            return None
        more = message["type"] == "http.request" and message.get("more_body", False)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A receive channel that gives the body that was read already, then what the server says (a disconnect)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def header_of(scope: Scope, name: bytes) -> str:
    """The first value of a header, empty without it."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _name_of(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).strip("[]")


def _announced_length(scope: Scope) -> int:
    text = header_of(scope, b"content-length")
    return int(text) if text.isascii() and text.isdigit() else 0


def _own_headers(call: Call) -> list[tuple[bytes, bytes]]:
    """The request's id, and how long its parts took so far (https://www.w3.org/TR/server-timing/)."""
    phases = call.timing | {"total": time.perf_counter() - call.started}
    timing = ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in phases.items())
    return [(b"x-request-id", call.request_id.encode()), (b"server-timing", timing.encode())]


def _account(scope: Scope, call: Call, status: int) -> None:
    route = getattr(scope.get("route"), "path", None) or "_unknown"
    duration_s = time.perf_counter() - call.started
    metrics.REQUESTS.labels(route, str(status)).inc()
    metrics.REQUEST_DURATION.labels(route).observe(duration_s)
    context = {
        "request_id": call.request_id,
        "client": call.client,
        "duration_ms": round(duration_s * 1000, 2),
    }
    if call.prediction_id:
        context["prediction_id"] = call.prediction_id
    _access_log.info("%s %s %d", scope["method"], route, status, extra=context)
