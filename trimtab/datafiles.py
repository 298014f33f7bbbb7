"""The user's labelled data: JSON Lines or CSV with `text`, `label`, optional `id`, `domain`, `group`, `timestamp`.

A file is read whole or not at all: every bad line is found, and the first is told with file, line number, reason and
what would be right. `skip_bad=True` leaves bad lines out and reports them; what is wrong with the file itself
(missing, empty, no header, no usable row) stops either way.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trimtab.errors import DataError

COLUMNS = ("text", "label", "id", "domain", "group", "timestamp")
REQUIRED = ("text", "label")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
MAX_FIELD_CHARS = 1_000_000  # a longer CSV field is an unclosed quote, not a text to classify


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled text; `timestamp` in epoch seconds, `line` where the row begins in the file (from 1)."""

    text: str
    label: str
    id: str | None = None
    domain: str | None = None
    group: str | None = None
    timestamp: float | None = None
    line: int = 0


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be used, and what would be right."""

    line: int
    reason: str


@dataclass(frozen=True)
class RowsFile:
    """The usable rows of a file in their order, and the lines that were left out (only with `skip_bad`)."""

    path: Path
    rows: tuple[Row, ...]
    skipped: tuple[BadLine, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(sorted({row.label for row in self.rows}))


@dataclass(frozen=True)
class _Record:
    """One parsed line: its values by column, or the reason why it could not be parsed."""

    line: int
    values: Mapping[str, Any]
    reason: str = ""


class _Bad(ValueError):
    """The line cannot be used; the message is its reason."""


def load_rows(path: Path, *, labels: Sequence[str] | None = None, skip_bad: bool = False) -> RowsFile:
    """Read a data file.

    Args:
        labels: the labels that may occur; None takes whatever occurs.
        skip_bad: leave bad lines out and report them in `RowsFile.skipped`, instead of refusing the file.

    Raises:
        DataError: the file cannot be used; the message says file, line, reason and what would be right.
    """
    rows, bad = _sort_out(_records(path), frozenset(labels) if labels is not None else None)
    if bad and not skip_bad:
        raise _error_of(path, bad)
    if not rows:
        raise DataError(f"{path}: no usable row: write one JSON object or CSV row per text{_first_of(bad)}")
    return RowsFile(path, tuple(rows), tuple(bad))


def require_classes(file: RowsFile, labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """The labels a model is to be trained on: the given ones in their order, else those that occur, sorted.

    Raises:
        DataError: fewer than two labels, or a given label has no row.
    """
    wanted = tuple(dict.fromkeys(labels)) if labels else file.labels
    if len(wanted) < 2:
        raise DataError(f"{file.path}: only one label ({', '.join(wanted)}): a classifier needs two")
    missing = sorted(set(wanted) - set(file.labels))
    if missing:
        raise DataError(f"{file.path}: no row has the label {', '.join(missing)}: add rows or drop it")
    return wanted


def _sort_out(records: Iterator[_Record], labels: frozenset[str] | None) -> tuple[list[Row], list[BadLine]]:
    rows: list[Row] = []
    bad: list[BadLine] = []
    line_of_id: dict[str, int] = {}
    for record in records:
        try:
            row = _row(record, labels)
            if row.id is not None and line_of_id.setdefault(row.id, row.line) != row.line:
                raise _Bad(f"the id {row.id!r} is used on line {line_of_id[row.id]} already: make it unique")
            rows.append(row)
        except _Bad as reason:
            bad.append(BadLine(record.line, str(reason)))
    return rows, bad


def _error_of(path: Path, bad: Sequence[BadLine]) -> DataError:
    more = f" (and {len(bad) - 1} more bad lines; --skip-bad leaves them out)" if len(bad) > 1 else ""
    return DataError(f"{path}, line {bad[0].line}: {bad[0].reason}{more}")


def _first_of(bad: Sequence[BadLine]) -> str:
    return f"; the first of {len(bad)} bad lines, line {bad[0].line}: {bad[0].reason}" if bad else ""


# Lines to records


def _records(path: Path) -> Iterator[_Record]:
    suffix = path.suffix.lower()
    if suffix not in (*JSON_SUFFIXES, ".csv"):
        raise DataError(
            f"{path}: the name must end in .jsonl, .ndjson or .json (one object per line) or .csv"
        )
    return _csv_records(path) if suffix == ".csv" else _json_records(path)


def _lines(path: Path) -> list[str]:
    """The lines of a file; bytes that are not UTF-8 stay visible as lone surrogates, which `_unicode` refuses."""
    try:
        text = path.read_bytes().decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}: name a readable file") from None
    if not text.strip():
        raise DataError(f"{path}: the file is empty: write one JSON object or CSV row per text")
    return text.replace("\r\n", "\n").split("\n")


def _json_records(path: Path) -> Iterator[_Record]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield _json_record(number, line)


def _json_record(number: int, line: str) -> _Record:
    example = 'write {"text": "...", "label": "..."}'
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        return _Record(number, {}, f"not valid JSON ({error.msg} at column {error.colno}): {example}")
    except RecursionError:
        return _Record(number, {}, f"nested too deeply: {example}")
    if not isinstance(values, dict):
        return _Record(number, {}, f"a JSON {_kind(values)} instead of an object: {example}")
    return _Record(number, values)


def _csv_records(path: Path) -> Iterator[_Record]:
    lines = [line + "\n" for line in _lines(path)]
    csv.field_size_limit(MAX_FIELD_CHARS)
    reader = csv.reader(lines, strict=True)
    header = _header(path, reader)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Record(start, {}, f"not valid CSV ({error}): close every quote, double one inside quotes")
            continue
        if any(field.strip() for field in fields):
            yield _csv_record(start, header, fields)


def _header(path: Path, reader: Iterator[list[str]]) -> tuple[str, ...]:
    try:
        header = tuple(name.strip() for name in next(reader))
    except csv.Error as error:
        raise DataError(f"{path}, line 1: the header is not valid CSV ({error})") from None
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        lacks = f"the header lacks {' and '.join(missing)}"
        raise DataError(f"{path}, line 1: {lacks}: name the columns text,label; found {','.join(header)}")
    twice = sorted({name for name in header if name in COLUMNS and header.count(name) > 1})
    if twice:
        raise DataError(f"{path}, line 1: the header names {', '.join(twice)} twice: name each column once")
    return header


def _csv_record(line: int, header: tuple[str, ...], fields: list[str]) -> _Record:
    if len(fields) != len(header):
        return _Record(
            line,
            {},
            f"{len(fields)} columns where the header has {len(header)}: give one value per column, "
            "and quote a value that holds a comma",
        )
    optional = {name: value for name, value in zip(header, fields, strict=True) if value or name in REQUIRED}
    return _Record(line, optional)


# Records to rows


def _row(record: _Record, labels: frozenset[str] | None) -> Row:
    if record.reason:
        raise _Bad(record.reason)
    values = record.values
    return Row(
        text=_required(values, "text"),
        label=_known(_required(values, "label"), labels),
        id=_identifier(values),
        domain=_optional(values, "domain"),
        group=_optional(values, "group"),
        timestamp=_timestamp(values.get("timestamp")),
        line=record.line,
    )


def _required(values: Mapping[str, Any], name: str) -> str:
    if values.get(name) is None:
        raise _Bad(f'{name} is missing: give a string, such as "{name}": "..."')
    text = _string(name, values[name])
    if not text.strip():
        raise _Bad(f"{name} is empty: give at least one character that is not a space")
    return text


def _optional(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    return None if value is None or value == "" else _string(name, value)


def _identifier(values: Mapping[str, Any]) -> str | None:
    """An id may also be a whole number, as databases export it."""
    value = values.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _optional(values, "id")


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _Bad(f"{name} is a {_kind(value)}: give a string, such as {json.dumps(str(value))[:60]}")
    return _unicode(name, value)


def _unicode(name: str, text: str) -> str:
    if "\0" in text:
        raise _Bad(f"{name} holds a NUL character: remove it (is the file UTF-16? save it as UTF-8)")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _Bad(f"{name} is not valid UTF-8: save the file as UTF-8") from None
    return text


def _known(label: str, labels: frozenset[str] | None) -> str:
    if labels is not None and label not in labels:
        raise _Bad(f"unknown label {label!r}: use one of {', '.join(sorted(labels))}")
    return label


def _timestamp(value: object) -> float | None:
    """Epoch seconds of a number or of an ISO 8601 time (UTC where it names no zone)."""
    if value is None or value == "":
        return None
    expected = "give epoch seconds or ISO 8601, such as 2026-01-31T12:00:00Z"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _Bad(f"timestamp is a {_kind(value)}: {expected}")
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = _iso_seconds(str(value), expected)
    if not math.isfinite(seconds):
        raise _Bad(f"timestamp {value!r} is not a time: {expected}")
    return seconds


def _iso_seconds(value: str, expected: str) -> float:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _Bad(f"timestamp {value[:60]!r} is not a time: {expected}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _kind(value: object) -> str:
    kinds = {bool: "boolean", int: "number", float: "number", list: "list", dict: "object", str: "string"}
    return kinds.get(type(value), "null")
