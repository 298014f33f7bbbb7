"""Label files: texts to label going out, labels coming back; JSON Lines, CSV, and Label Studio's JSON.

A file is taken whole or not at all: the first bad line is told with file, line, reason and what would be right.
Lines without a label (null or empty) are left out: a file may come back half done.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, StringConstraints, ValidationError, model_validator

from service.label_studio import Annotation, task_of
from service.schemas import Moment
from trimtab.errors import DataError
from trimtab.ledger.label_requests import LabelRequest
from trimtab.ledger.samples import PredictionRow

EXPECTED = 'write {"prediction_id": "...", "label": "..."}, or the request_id that was exported'
COLUMNS = ("request_id", "prediction_id", "text", "label")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute a text that begins so

Id = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Format(StrEnum):
    """How a file is written."""

    NATIVE = "native"
    CSV = "csv"
    LABEL_STUDIO = "label-studio"


class Given(BaseModel):
    """One label of a file, by the request or the prediction it is about; None or "": not labelled yet."""

    request_id: Id = ""
    prediction_id: Id = ""
    label: Annotated[str, StringConstraints(max_length=128)] | None
    annotator: Annotated[str, StringConstraints(max_length=64)] = ""
    observed_at: Moment | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.request_id and not self.prediction_id:
            raise ValueError("prediction_id and request_id are both missing")
        return self


@dataclass(frozen=True)
class _Entry:
    place: str  # "line 3"
    values: Any


def written(found: Sequence[LabelRequest | PredictionRow], labels: Sequence[str], how: Format) -> str:
    """The content of a file of texts to label. Label Studio takes requests only: raises DataError."""
    if how is Format.LABEL_STUDIO:
        requests = [each for each in found if isinstance(each, LabelRequest)]
        if len(requests) < len(found):
            raise DataError(
                "there are no open label requests, and Label Studio gets only those: use native or csv"
            )
        return json.dumps(
            [task_of(each, labels).model_dump() for each in requests], ensure_ascii=False, indent=1
        )
    rows = [_columns(each) for each in found]
    if how is Format.CSV:
        return _csv(rows)
    return "".join(json.dumps(row | {"label": None}, ensure_ascii=False) + "\n" for row in rows)


def read_labels(file: Path) -> list[Given]:
    """The labels of a file, by its content: CSV by its suffix, Label Studio's JSON if it is a list of tasks."""
    text = _text_of(file)
    if file.suffix.lower() == ".csv":
        entries = _csv_entries(file, text)
    elif text.lstrip().startswith("["):
        entries = _task_entries(file, text)
    else:
        entries = _line_entries(file, text)
    given = [_given(file, entry) for entry in entries]
    return [each for each in given if each.label]


def _columns(each: LabelRequest | PredictionRow) -> dict[str, Any]:
    named = {"request_id": each.id} if isinstance(each, LabelRequest) else {}
    return {**named, "prediction_id": each.prediction_id, "text": each.text}


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    content = io.StringIO()
    writer = csv.DictWriter(content, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        text = row["text"] or ""
        writer.writerow(row | {"text": f"'{text}" if text.startswith(FORMULA) else text})
    return content.getvalue()


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: not valid UTF-8: save the file as UTF-8") from None


def _csv_entries(file: Path, text: str) -> Iterator[_Entry]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for row in _rows(file, reader):
        known = {name: value for name, value in row.items() if name in Given.model_fields and value}
        yield _Entry(f"line {reader.line_num}", {"label": None, **known} if "label" in row else known)


def _rows(file: Path, reader: csv.DictReader[str]) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: not valid CSV ({error})") from None


def _line_entries(file: Path, text: str) -> Iterator[_Entry]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield _Entry(f"line {number}", _json(file, f"line {number}", line))


def _task_entries(file: Path, text: str) -> Iterator[_Entry]:
    """Label Studio's export: of each task its annotations that were not skipped."""
    for number, task in enumerate(_json(file, "line 1", text), start=1):
        place = f"task {number}"
        try:
            data = {name: task["data"].get(name, "") for name in ("request_id", "prediction_id")}
            annotations = [Annotation.model_validate(each) for each in task.get("annotations", [])]
        except (AttributeError, KeyError, TypeError, ValidationError):
            raise DataError(f"{file}, {place}: not a task as Label Studio exports it (JSON)") from None
        for annotation in annotations:
            chosen = annotation.chosen
            if annotation.was_cancelled or not chosen:
                continue
            if len(chosen) > 1:
                raise DataError(f"{file}, {place}: {len(chosen)} choices, a text has one label")
            yield _Entry(place, data | {"label": chosen[0], "annotator": annotation.person})


def _json(file: Path, place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        told = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
        raise DataError(f"{file}, {place}: not valid JSON ({told}): {EXPECTED}") from None


def _given(file: Path, entry: _Entry) -> Given:
    try:
        return Given.model_validate(entry.values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise DataError(f"{file}, {entry.place}: {reason}: {EXPECTED}") from None
