"""Another host name is taken by the process that asks for it and by nobody else."""

from __future__ import annotations

import socket
import subprocess
import sys

TAKE = """
import socket, sys
from benchmarks.console.stage import NameNotTaken, take_name
try:
    take_name("somewhere-else")
except NameNotTaken as error:
    sys.exit(f"refused: {error}")
print(socket.gethostname())
"""


def test_the_name_is_this_process_own() -> None:
    before = socket.gethostname()
    done = subprocess.run(
        [sys.executable, "-c", TAKE], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode == 0:
        assert done.stdout.strip() == "somewhere-else"
    else:
        assert "refused: cannot take the host name" in done.stderr
        assert "unshare -r" in done.stderr
    assert socket.gethostname() == before
