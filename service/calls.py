"""One HTTP call as every layer knows it: its ids, who calls, and when it came; kept in the ASGI scope."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field

from starlette.types import Scope

ANONYMOUS = "anonymous"
_KEY = "trimtab.call"
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


@dataclass
class Call:
    """What the edge knows of a call; `service.answering` adds the prediction that came of it."""

    # The caller's X-Request-Id where it is a sound one: it correlates log lines, it names nothing of ours.
    request_id: str
    # The API key's name.
    client: str = ANONYMOUS
    # What the key may do.
    roles: frozenset[str] = frozenset()
    # Always made here, so that no two predictions share an id; empty while there is none.
    prediction_id: str = ""
    # For the Server-Timing header: phase -> seconds.
    timing: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)


def begin_call(scope: Scope) -> Call:
    """The call of this scope, with the caller's X-Request-Id where it is a sound one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    text = given.decode("latin-1")
    call = Call(text if _REQUEST_ID.match(text) else new_id())
    scope[_KEY] = call
    return call


def call_of(scope: Scope) -> Call:
    """The call that the edge put into this scope."""
    call = scope.get(_KEY)
    return call if isinstance(call, Call) else begin_call(scope)


def new_id() -> str:
    """A fresh id: 32 hex digits, without a colon, which separates a prediction's id from the index of an item."""
    return uuid.uuid4().hex
