"""What the description says is true for requests that nobody thought of: no server error, no undocumented code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.deployment import RunningApi

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Edge cases of the schema, then random requests; the seed makes them the same at every run.
FUZZ = ["--max-examples", "10", "--seed", "7", "--checks", CHECKS, "--no-color"]
# Deadlines of a millisecond may be asked for, and what needs Redis says so when it is away.
CONFIG = """
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503, 504]
"""
EXISTING = """
[parameters]
"path.model" = "toy"
"path.version" = "1"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "phases"), [("", "coverage"), (EXISTING, "examples,coverage,fuzzing")], ids=["any", "existing"]
)
def test_any_request_is_answered_as_described(
    api: RunningApi, tmp_path: Path, names: str, phases: str
) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG + names)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml")]
    done = subprocess.run(
        [*command, "run", f"{api.url}/openapi.json", "--phases", phases, *FUZZ],
        env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.fixtures.fuzz_hooks"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
