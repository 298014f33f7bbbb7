"""GET /console/: the web console's files. Public, since they are the same for everybody and hold no data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

# Only what is listed is served; nothing is ever looked up by a path that a client sent.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
# No script, style, font or connection but our own; and no string becomes markup (trusted types), not even by mistake.
POLICY = "; ".join([
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
])  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class ConsoleFile:
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str


@router.get("/")
async def start() -> RedirectResponse:
    """Who opens the bare address in a browser wants the console."""
    return RedirectResponse("/console/", headers=HEADERS)


@router.get("/console")
async def to_console() -> RedirectResponse:
    """The console lives in a folder, so that its files find each other."""
    return RedirectResponse("/console/", headers=HEADERS)


@router.get("/console/{path:path}")
async def console_file(
    path: str, if_none_match: Annotated[str | None, Header(alias="If-None-Match")] = None
) -> Response:
    """A file of the console; 304 when the browser has it already."""
    found = console_files().get(path or "index.html")
    if found is None:
        raise HTTPException(404, "the console has no such file")
    headers = {**HEADERS, "ETag": found.etag}
    if if_none_match == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)


@cache
def console_files() -> Mapping[str, ConsoleFile]:
    """Every file of the console by its path below it; read once."""
    return dict(_found(files("service") / "console", ""))


def _found(folder: Traversable, prefix: str) -> list[tuple[str, ConsoleFile]]:
    found: list[tuple[str, ConsoleFile]] = []
    for entry in folder.iterdir():
        media_type = _TYPES.get(f".{entry.name.rpartition('.')[2]}")
        if entry.is_dir():
            found += _found(entry, f"{prefix}{entry.name}/")
        elif media_type is not None:
            content = entry.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
            found.append((prefix + entry.name, ConsoleFile(content, media_type, etag)))
    return found
