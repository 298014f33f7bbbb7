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
    ("value", "outcome"),
    [("", "1 passed, 2 skipped, 1 xfailed"), ("1", "1 failed, 1 passed, 1 xfailed, 1 error")],
)
def test_a_skip_fails_only_when_asked(tmp_path: Path, value: str, outcome: str) -> None:
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "test_suite.py").write_text(SUITE)
    options = f"-q -p no:cacheprovider -c {os.devnull} --rootdir {tmp_path} {tmp_path}".split()
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        env={**os.environ, "TRIMTAB_TEST_NO_SKIPS": value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in run.stdout
    assert ("TRIMTAB_TEST_NO_SKIPS is set: Skipped: no database here" in run.stdout) is bool(value)
