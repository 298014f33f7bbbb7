"""The console's files: public, the same for everybody, strict, and nothing beyond them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.routes.console import console_files
from tests.fixtures.deployment import RunningApi

FOLDER = Path(__file__).parents[3] / "service" / "console"
OWN = [
    file
    for file in sorted(FOLDER.rglob("*"))
    if file.suffix in {".js", ".css", ".html"} and "vendor" not in file.parts
]
MAX_FILE_LINES = 400


def test_every_file_is_served_with_a_strict_policy(api: RunningApi) -> None:
    assert len(console_files()) > 20
    for path, file in console_files().items():
        response = api.http.get(f"/console/{path}")
        assert (response.status_code, response.content) == (200, file.content)
        assert response.headers["Content-Type"] == file.media_type
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
    policy = api.http.get("/console/").headers["Content-Security-Policy"]
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "trusted-types 'none'"):
        assert rule in policy
    assert "unsafe" not in policy


def test_the_folder_without_its_slash_leads_there(api: RunningApi) -> None:
    for path in ("/console", "/"):
        response = api.http.get(path)
        assert (response.status_code, response.headers["Location"]) == (307, "/console/")


def test_a_browser_that_has_a_file_is_sent_nothing(api: RunningApi) -> None:
    first = api.http.get("/console/js/main.js")
    again = api.http.get("/console/js/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = api.http.get("/console/js/main.js", headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path",
    ["../auth.py", "..%2fauth.py", "js", "js/", "%2e%2e/settings.py", "vendor/uplot/LICENSE", "js/main.js/"],
)
def test_nothing_else_is_served(api: RunningApi, path: str) -> None:
    response = api.http.get(f"/console/{path}")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:trimtab:problem:not-found"


def test_what_is_vendored_carries_its_licence() -> None:
    for folder in (FOLDER / "vendor").iterdir():
        assert re.search("MIT|OFL|Open Font License", (folder / "LICENSE").read_text(encoding="utf-8"))


def test_imports_lead_to_files() -> None:
    for file in OWN:
        for target in re.findall(r'(?:from |import |url\()"(\.[^"]+)"', file.read_text(encoding="utf-8")):
            assert (file.parent / target).is_file(), f"{file.name} -> {target}"


def test_no_file_calls_anybody_else() -> None:
    addresses = {
        address
        for file in OWN
        for address in re.findall(r"https?://[^\s\"'`)]+", file.read_text(encoding="utf-8"))
    }
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_text_never_becomes_markup() -> None:
    unsafe = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    scripts = [*FOLDER.rglob("*.js")]
    assert [file.name for file in scripts if unsafe.search(file.read_text(encoding="utf-8"))] == []


def test_files_and_functions_are_short() -> None:
    """The house's budgets, for JavaScript: counted by lines between `function` and the brace that closes its line."""
    for file in OWN:
        lines = file.read_text(encoding="utf-8").splitlines()
        assert len(lines) < MAX_FILE_LINES, file.name
        began = 0
        for number, line in enumerate(lines):
            if re.match(r"(export )?(async )?function ", line):
                began = number
            if line == "}" and began:
                assert number - began < 60, f"{file.name}:{began + 1}"
                began = 0
