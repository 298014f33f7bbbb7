"""The outermost layers of every HTTP call: its id, the clock, the log line, who may call, how much may be sent."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth import Keyring, credentials_of, refusal
from service.calls import Call, begin_call, call_of
from service.problems import http_problem, problem
from trimtab import metrics

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
                message["headers"] = [*message["headers"], (b"x-request-id", call.request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001  # the last layer: its caller would only close the connection
            _access_log.exception("unexpected error", exc_info=error, extra={"request_id": call.request_id})
            if not status:
                answer = problem(
                    500, "internal", "Internal error", "see the log for this request id", call.request_id
                )
                await answer(scope, receive, send_with_id)
        finally:
            _account(scope, call, status)


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
        call.client = principal.name if principal else call.client
        await self._app(scope, receive, send)


class BodyLimit:
    """Reads the body up to a limit, before anything parses it; counted while it streams."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self._app(scope, receive, send)
            return
        body = None if _announced_length(scope) > self._max_bytes else await self._read(receive)
        if body is None:
            metrics.REJECTED.labels("too_large").inc()
            detail = f"the body may have {self._max_bytes} bytes"
            answer = http_problem(413, detail, call_of(scope).request_id, {"Connection": "close"})
            await answer(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body; None when it is longer than allowed. A client that goes away leaves what it sent."""
        parts: list[bytes] = []
        total, more = 0, True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            total += len(parts[-1])
            if total > self._max_bytes:
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


def _announced_length(scope: Scope) -> int:
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(text) if text.isdigit() else 0


def _account(scope: Scope, call: Call, status: int) -> None:
    route = getattr(scope.get("route"), "path", None) or "_unknown"
    duration_s = time.perf_counter() - call.started
    metrics.REQUESTS.labels(route, str(status)).inc()
    metrics.REQUEST_DURATION.labels(route).observe(duration_s)
    _access_log.info(
        "%s %s %d",
        scope["method"],
        route,
        status,
        extra={
            "request_id": call.request_id,
            "client": call.client,
            "duration_ms": round(duration_s * 1000, 2),
        },
    )
