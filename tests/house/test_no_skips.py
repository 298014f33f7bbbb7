"""With TRIMTAB_TEST_NO_SKIPS a skipped test fails: the rule of `.ci/run`, tried on a suite of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SUITE = """
import pytest

def test_passes(): pass

def test_skips(): pytest.skip("no database here")

@pytest.mark.skipif(True, reason="not on this system")
def test_is_marked(): pass

@pytest.mark.xfail(strict=True)
def test_known_to_fail(): assert False
"""


@pytest.mark.parametrize(
    ("value", "outcome"), [("", "1 passed, 2 skipped, 1 xfailed"), ("1", "2 failed, 1 passed, 1 xfailed")]
)
def test_a_skip_fails_only_when_asked(tmp_path: Path, value: str, outcome: str) -> None:
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "test_suite.py").write_text(SUITE)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            str(tmp_path),
            str(tmp_path),
        ],
        env={**os.environ, "TRIMTAB_TEST_NO_SKIPS": value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in run.stdout
    if value:
        assert "no database here" in run.stdout
