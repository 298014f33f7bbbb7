"""Facts of the machine and the libraries, for the head of a report."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "tokenizers", "fastapi", "uvicorn", "numpy")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")


def facts() -> dict[str, str]:
    """What the numbers depend on."""
    cpu = _cpu_info()
    flags = cpu.get("flags", "").split()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC",
        "processor": f"{cpu.get('model name', platform.machine())}, {os.cpu_count()} logical cores",
        "instructions": ", ".join(each for each in INSTRUCTIONS if each in flags) or "unknown",
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load average at the start": ", ".join(f"{each:.2f}" for each in os.getloadavg()),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def _cpu_info() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if path.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
