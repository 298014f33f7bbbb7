"""Models: a name, its labels, its base, and the generation that counts changes of what should be served."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from trimtab.errors import AlreadyExists, GenerationMismatch, InvalidInput, ModelNotFound
from trimtab.ledger.clock import now
from trimtab.ledger.events import record_event
from trimtab.ledger.schema import models

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_LABEL = 100  # characters


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """A model.

    Attributes:
        name: Unique name.
        labels: Class names, in the order of the logits. Those that were declared later stand behind the others, and a
            version that was made before they were taught does not know them.
        base: Directory or hub id of the base model.
        base_digest: Digest of the base model's files.
        generation: Grows by one with every change of what should be served; 0 before the first.
        created_at: Epoch seconds.
    """

    name: str
    labels: tuple[str, ...]
    base: str
    base_digest: str
    generation: int
    created_at: float


def on_base(model: ModelRow, name: str, digest: str) -> ModelRow:
    """The model as a version has it that stands on this base: another one's name is in the version's manifest.

    The model's own base keeps the name under which it is to be found here, wherever the version was made.
    """
    return model if digest == model.base_digest else replace(model, base=name, base_digest=digest)


def require_name(name: str) -> None:
    """Raises InvalidInput unless the name can stand in a path, a metric and a command line as it is."""
    if NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"model name {name!r}: write 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"
        )


def create_model(tx: Connection, name: str, labels: Sequence[str], base: str, base_digest: str) -> ModelRow:
    """Add a model; raises InvalidInput when it cannot be named so, AlreadyExists when the name is taken."""
    require_name(name)
    if _find(tx, name) is not None:
        raise AlreadyExists(f"There is already a model named {name!r}.")
    values: dict[str, Any] = {"name": name, "labels": list(labels), "base": base, "base_digest": base_digest}
    tx.execute(insert(models).values(**values, generation=0, created_at=now(tx)))
    record_event(tx, "model_created", name, {"labels": list(labels), "base": base})
    return get_model(tx, name)


def declare_label(tx: Connection, name: str, label: str, *, actor: str = "system") -> ModelRow:
    """Let feedback name a class that the model does not have yet; an adaptation teaches it once there are examples.

    Raises ModelNotFound; InvalidInput where it cannot be read or typed, AlreadyExists where the model has it.
    """
    row = get_model(tx, name)
    if not label.isprintable() or label != label.strip() or not 0 < len(label) <= MAX_LABEL:
        raise InvalidInput(f"label {label!r}: 1 to {MAX_LABEL} printable characters, no space at either end")
    if label in row.labels:
        raise AlreadyExists(f"{name!r} has a class {label!r} already.")
    declared = [*row.labels, label]
    tx.execute(update(models).where(models.c.name == name).values(labels=declared))
    record_event(tx, "label_declared", name, {"label": label, "labels": declared}, actor)
    return get_model(tx, name)


def get_model(tx: Connection, name: str) -> ModelRow:
    """The model of this name; raises ModelNotFound."""
    row = _find(tx, name)
    if row is None:
        raise ModelNotFound(f"There is no model named {name!r}.")
    return _model(row)


def list_models(tx: Connection) -> list[ModelRow]:
    """Every model, by name."""
    return [_model(row) for row in tx.execute(select(models).order_by(models.c.name)).mappings()]


def generations(tx: Connection) -> dict[str, int]:
    """The generation of every model."""
    rows = tx.execute(select(models.c.name, models.c.generation))
    return {name: int(generation) for name, generation in rows}


def next_generation(tx: Connection, name: str) -> int:
    """Count a change of what should be served; returns the new generation. Raises ModelNotFound."""
    statement = update(models).where(models.c.name == name).values(generation=models.c.generation + 1)
    generation = tx.execute(statement.returning(models.c.generation)).scalar_one_or_none()
    if generation is None:
        raise ModelNotFound(f"There is no model named {name!r}.")
    return int(generation)


def require_generation(tx: Connection, name: str, expected: int | None) -> int:
    """The present generation; raises GenerationMismatch unless it is the expected one (None: any)."""
    generation = get_model(tx, name).generation
    if expected is not None and expected != generation:
        raise GenerationMismatch(
            f"Expected generation {expected} of {name!r}, but it is {generation} by now."
        )
    return generation


def _find(tx: Connection, name: str) -> RowMapping | None:
    return tx.execute(select(models).where(models.c.name == name)).mappings().one_or_none()


def _model(row: RowMapping) -> ModelRow:
    return ModelRow(**{**row, "labels": tuple(row["labels"])})
