"""A virtual environment for each peer, made on request. Torch and whatever else fits is taken from ours.

A `.pth` file puts our site-packages behind the peer's own: pip finds torch there and downloads no gigabytes; what the
peer needs in another version is installed in front of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

INSTALL_S = 400.0

# What pip is asked for; `plain` runs in our own environment. MLServer 1.7 asks uvloop for a loop before there is one,
# which uvloop refuses from 0.22 on.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "litserve": ("litserve==0.2.19",),
    "infinity": ("infinity-emb[server,torch]==0.0.78",),
    "bentoml": ("bentoml==1.4.39",),
    "mlserver": ("mlserver==1.7.1", "uvloop==0.21.0"),
    "ray": ("ray[serve]==2.60.0",),
}


class PeerMissing(Exception):
    """A peer that cannot be had here; the message says why."""


def python_of(peer: str, root: Path) -> Path:
    """The interpreter that runs the peer, its environment made in `root` if it is not there.

    Raises:
        PeerMissing: it does not install within 400 s.
    """
    requirements = REQUIREMENTS[peer]
    return python_with(requirements, root / peer) if requirements else Path(sys.executable)


def python_with(requirements: tuple[str, ...], folder: Path) -> Path:
    """The interpreter of an environment with these packages before ours, made in `folder` if it is not there.

    Raises:
        PeerMissing: they do not install within 400 s.
    """
    done, wanted = folder / "installed.txt", "\n".join(requirements)
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        _make(folder, requirements)
        done.write_text(wanted, encoding="utf-8")
    return folder / "bin" / "python"


def _make(folder: Path, requirements: tuple[str, ...]) -> None:
    venv.create(folder, clear=True)
    library = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shared = folder / "lib" / library / "site-packages" / "shared.pth"
    shared.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    # Our pip, in the peer's interpreter.
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q"]
    try:
        done = subprocess.run(
            [*pip, *requirements],
            env=environment,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PeerMissing(f"{requirements[0]} did not install within {INSTALL_S:.0f} s") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        raise PeerMissing(f"{requirements[0]} does not install: {lines[-1]}")
