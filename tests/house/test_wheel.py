"""The wheel holds what runs, data files among it, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"trimtab", "service", "workers", "monitoring"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def test_it_holds_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_every_data_file_is_inside(wheel: zipfile.ZipFile) -> None:
    """py.typed, migrations, dashboards, rules: whatever is no Python source."""
    wanted = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted - set(wheel.namelist()) == set()
    assert {f"{package}/py.typed" for package in PACKAGES} <= wanted


def test_migrations_are_inside(wheel: zipfile.ZipFile) -> None:
    assert any(name.startswith("trimtab/ledger/migrations/versions/") for name in wheel.namelist())


def test_the_core_asks_for_neither_torch_nor_a_web_server(wheel: zipfile.ZipFile) -> None:
    """The monitor's image installs no extra."""
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    asked = message_from_string(wheel.read(metadata).decode()).get_all("Requires-Dist") or []
    core = {line.split(">")[0].split("[")[0].strip() for line in asked if "extra ==" not in line}
    assert core.isdisjoint({"torch", "transformers", "peft", "fastapi", "uvicorn"})
    assert {"celery", "sqlalchemy", "numpy"} <= core


def test_the_licence_is_inside(wheel: zipfile.ZipFile) -> None:
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())
