"""What a process loads: one rule, one fresh interpreter. The arrows are import-linter's part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ("torch", "transformers", "peft")
WEB = ("fastapi", "starlette", "uvicorn")
QUEUE = ("celery", "kombu")
# The only modules of `trimtab` that hold a model.
TORCH_MODULES = {"trimtab.base", "trimtab.bundle", "trimtab.kernels", "trimtab.packing", "trimtab.pooling"}

LOADS = """
import importlib, sys
modules, forbidden = sys.argv[1].split(","), set(sys.argv[2].split(","))
for module in modules:
    importlib.import_module(module)
    loaded = sorted(forbidden & set(sys.modules))
    if loaded:
        sys.exit(f"importing {module} loads {', '.join(loaded)}")
"""


def refuse(modules: list[str], forbidden: tuple[str, ...]) -> None:
    """Import the modules in a fresh interpreter; fail when one of the forbidden gets loaded."""
    run = subprocess.run(
        [sys.executable, "-c", LOADS, ",".join(modules), ",".join(forbidden)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def modules_of(package: str) -> list[str]:
    """Names of a package's modules; migration scripts are not modules, Alembic runs them."""
    files = (ROOT / package).rglob("*.py")
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in files if "migrations" not in file.parts]
    return sorted(".".join(part for part in names if part != "__init__") for names in parts)


def test_the_monitor_loads_no_web_framework_and_no_torch() -> None:
    refuse(["monitoring.monitor"], WEB + MODEL + QUEUE)


def test_no_part_of_monitoring_does() -> None:
    refuse(modules_of("monitoring"), WEB + MODEL + QUEUE)


def test_the_celery_app_loads_no_torch() -> None:
    """Torch's threads do not survive a fork: a child of such a process hangs for ever."""
    refuse(["workers.app", "workers.tasks"], MODEL + WEB)


def test_the_nouns_load_neither_torch_nor_web_nor_queue() -> None:
    refuse([name for name in modules_of("trimtab") if name not in TORCH_MODULES], MODEL + WEB + QUEUE)


@pytest.mark.parametrize("module", sorted(TORCH_MODULES))
def test_the_model_modules_know_neither_web_nor_queue(module: str) -> None:
    refuse([module], WEB + QUEUE)


def test_the_command_line_starts_light() -> None:
    """`trimtab --help` must not wait for torch: a subcommand imports what it needs inside its function."""
    refuse(["service.cli"], WEB + MODEL)
