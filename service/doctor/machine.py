"""What this process stands on: libraries, keys, disk, device, and who could reach it."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import stat
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from service.doctor.check import Check, fail, ok, warn
from trimtab.adapter import load_private_key, load_public_key
from trimtab.errors import SettingsError
from trimtab.settings import Settings

LOW_BYTES = 1_000_000_000
TOO_LOW_BYTES = 100_000_000
_LIBRARIES = (
    "trimtab",
    "torch",
    "transformers",
    "peft",
    "fastapi",
    "celery",
    "redis",
    "sqlalchemy",
    "obstore",
)


def check_libraries(settings: Settings) -> Iterator[Check]:  # noqa: ARG001  # all examinations are called alike
    """Versions of what is installed here; the monitor's image has no torch, and that is right."""
    found = {name: installed for name in _LIBRARIES if (installed := _installed(name))}
    listed = ", ".join(f"{name} {number}" for name, number in found.items())
    yield ok("libraries", f"Python {platform.python_version()}, {listed}")


def check_exposure(settings: Settings) -> Iterator[Check]:
    """Without keys the API listens on loopback only."""
    if importlib.util.find_spec("starlette") is None:
        yield ok("access", "no web server is installed here, so nobody calls it")
        return
    from service.auth import check_exposure as require_keys

    host, mode = settings.server.host, settings.auth.mode
    try:
        require_keys(mode, host)
    except SettingsError as error:
        yield fail("access", str(error), "set TRIMTAB_AUTH__MODE=keys")
    else:
        yield ok("access", f"keys {'needed' if mode == 'keys' else 'off'}, listening on {host}")


def check_keys(settings: Settings) -> Iterator[Check]:
    """The public key is needed everywhere; the private one by workers only, and nobody else may read it."""
    public, private = settings.public_key_path, settings.private_key_path
    verifying = load_public_key(public)
    yield ok("public key", str(public))
    if not private.exists():
        yield warn("private key", "not here", "right for API and monitor; a worker needs it")
        return
    if load_private_key(private).public_key() != verifying:
        yield fail(
            "private key", f"{private} does not belong to {public}", "every new version would be refused"
        )
    elif stat.S_IMODE(private.stat().st_mode) & 0o007:
        yield fail("private key", f"{private} can be read by everybody", f"chmod 600 {private}")
    else:
        yield ok("private key", f"{private} belongs to the public key")


def check_disk(settings: Settings) -> Iterator[Check]:
    """Room where the home is."""
    place = _existing(settings.home.absolute())
    free = shutil.disk_usage(place).free
    said = f"{free / 1e9:.1f} GB free at {place}"
    if free < TOO_LOW_BYTES:
        yield fail("disk", said, "make room: logs, ledger and downloads will fail")
    elif free < LOW_BYTES:
        yield warn("disk", said, "make room soon")
    else:
        yield ok("disk", said)


def check_device(settings: Settings) -> Iterator[Check]:
    """The device that models would run on."""
    if importlib.util.find_spec("torch") is None:
        yield warn("device", "torch is not installed", "right for the monitor; API and workers need it")
        return
    import torch

    wanted = settings.device
    name = wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        yield fail("device", f"{name} cannot be used: {reason}", "set TRIMTAB_DEVICE to auto or cpu")
        return
    yield ok("device", torch.cuda.get_device_name(name) if name.startswith("cuda") else name)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    while not path.exists():
        path = path.parent
    return path
