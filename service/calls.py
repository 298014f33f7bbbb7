"""One HTTP call as every layer knows it: its id, who calls, and when it came; kept in the ASGI scope."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field

from starlette.types import Scope

ANONYMOUS = "anonymous"
_KEY = "trimtab.call"
# No colon: it separates a request's id from the index of an item.
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


@dataclass
class Call:
    """What the edge knows of a call. Written by the edge only."""

    request_id: str
    # The API key's name.
    client: str = ANONYMOUS
    started: float = field(default_factory=time.perf_counter)


def begin_call(scope: Scope) -> Call:
    """The call of this scope, with the caller's X-Request-Id where it is a sound one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    text = given.decode("latin-1")
    call = Call(text if _REQUEST_ID.match(text) else uuid.uuid4().hex)
    scope[_KEY] = call
    return call


def call_of(scope: Scope) -> Call:
    """The call that the edge put into this scope."""
    call = scope.get(_KEY)
    return call if isinstance(call, Call) else begin_call(scope)
