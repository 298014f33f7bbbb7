"""Backups: ledger and store as one zip file that does not depend on the database, and back again.

    ledger/{table}.jsonl    rows, one a line            store/{digest}/{name}    the files of every version
    keys/{name}.pem         signing keys                backup.json              what it holds; written last

The ledger is read in one snapshot; versions are immutable and in the store before they are in the ledger, so that what
the snapshot names is there. A restore is one transaction: all or nothing.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from trimtab.adapter import ALL_FILES, public_key_of, verify
from trimtab.errors import DataError, StoreUnavailable, VersionNotFound
from trimtab.ledger import Ledger, archive
from trimtab.ledger.columns import to_json
from trimtab.ledger.migrate import current_revision, downgrade, upgrade
from trimtab.ledger.models import list_models
from trimtab.ledger.retention import digests_in_use
from trimtab.store import AdapterStore

FORMAT = "trimtab-backup/1"
_CONTENTS = "backup.json"
_PRIVATE = 0o600  # it holds texts of users


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a backup holds.

    Attributes:
        trimtab, revision: The release that wrote it, and its ledger's schema.
        rows: Number of rows by table.
        counters: The last number that each counted table gave.
        versions: Digests of the versions whose files are in it.
        missing: Digests that the ledger names and the store no longer had.
        bases: Base models that the models need; they are not in it.
        keys: Names of the keys in it.
        created_at: Epoch seconds.
    """

    trimtab: str
    revision: str
    rows: Mapping[str, int]
    counters: Mapping[str, int]
    versions: tuple[str, ...]
    missing: tuple[str, ...]
    bases: tuple[str, ...]
    keys: tuple[str, ...]
    created_at: float
    format: str = FORMAT


def write_backup(file: Path, ledger: Ledger, store: AdapterStore, keys: Mapping[str, bytes]) -> Contents:
    """Write a backup; the file appears when it is complete. What runs goes on running.

    Args:
        keys: PEM files by name, such as {"verify": ...}.

    Raises:
        LedgerUnavailable, StoreUnavailable, DataError: It cannot be read or written.
    """
    scratch = file.with_name(f".{file.name}.part")
    try:
        scratch.unlink(missing_ok=True)
        scratch.touch(_PRIVATE)
        with zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as bundle:
            contents = _fill(bundle, ledger, store, keys)
        scratch.replace(file)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)
    return contents


def restore_backup(file: Path, ledger: Ledger, store: AdapterStore) -> Contents:
    """Put a backup into an empty ledger and the store; its schema is brought up to date with this release.

    Raises:
        DataError: The file is no complete backup.
        AdapterRefused: A version in it does not verify with the key in it.
        LedgerNotEmpty: The ledger holds rows already.
    """
    with _opened(file) as bundle:
        contents = _contents(bundle)
        for digest in contents.versions:
            _put_version(bundle, digest, store)
        with ledger.begin() as tx:
            _make_tables(tx, contents.revision)
            _put_rows(tx, bundle, contents)
            upgrade(tx)
    return contents


def read_contents(file: Path) -> Contents:
    """What a backup says that it holds. Raises DataError."""
    with _opened(file) as bundle:
        return _contents(bundle)


def read_key(file: Path, name: str) -> bytes:
    """A key of a backup, as PEM. Raises DataError when it is not in it."""
    with _opened(file) as bundle:
        return _member(bundle, f"keys/{name}.pem")


def _fill(
    bundle: zipfile.ZipFile, ledger: Ledger, store: AdapterStore, keys: Mapping[str, bytes]
) -> Contents:
    with ledger.read() as tx:
        contents = Contents(
            trimtab=installed_version("trimtab"),
            revision=current_revision(tx) or "",
            rows={table.name: _add_table(tx, bundle, table) for table in archive.TABLES},
            counters=archive.counters_of(tx),
            versions=(),
            missing=(),
            bases=tuple(sorted({model.base for model in list_models(tx)})),
            keys=tuple(sorted(keys)),
            created_at=time.time(),
        )
        named = sorted(digests_in_use(tx))
    there = tuple(digest for digest in named if _add_version(bundle, digest, store))
    for name, pem in keys.items():
        bundle.writestr(f"keys/{name}.pem", pem)
    contents = replace(contents, versions=there, missing=tuple(sorted({*named} - {*there})))
    bundle.writestr(_CONTENTS, json.dumps(asdict(contents), indent=2))
    return contents


def _add_table(tx: Connection, bundle: zipfile.ZipFile, table: Any) -> int:
    n = 0
    with bundle.open(f"ledger/{table.name}.jsonl", "w", force_zip64=True) as lines:
        for row in archive.rows_of(tx, table):
            lines.write(f"{to_json(row)}\n".encode())
            n += 1
    return n


def _add_version(bundle: zipfile.ZipFile, digest: str, store: AdapterStore) -> bool:
    try:
        files = store.get(digest)
    except VersionNotFound:
        return False
    for name, content in files.items():
        bundle.writestr(f"store/{digest}/{name}", content)
    return True


def _put_version(bundle: zipfile.ZipFile, digest: str, store: AdapterStore) -> None:
    files = {name: _member(bundle, f"store/{digest}/{name}") for name in ALL_FILES}
    verify(files, public_key_of(_member(bundle, "keys/verify.pem"), "keys/verify.pem"), digest)
    if store.put(files) != digest:
        raise StoreUnavailable(f"version {digest[:16]} was not stored under its digest")


def _make_tables(tx: Connection, revision: str) -> None:
    """Empty tables as the backup's release had them; raises LedgerNotEmpty when there is something to lose."""
    present = current_revision(tx)
    if present is not None:
        archive.require_empty(tx)
    if present not in {None, revision}:
        downgrade(tx, "base")
    upgrade(tx, revision)


def _put_rows(tx: Connection, bundle: zipfile.ZipFile, contents: Contents) -> None:
    for table in archive.TABLES:
        n = archive.add_rows(tx, table, _lines(bundle, f"ledger/{table.name}.jsonl"))
        if n != contents.rows.get(table.name, 0):
            raise DataError(
                f"the backup should hold {contents.rows[table.name]} rows of `{table.name}`, it holds {n}"
            )
    archive.set_counters(tx, dict(contents.counters))


def _lines(bundle: zipfile.ZipFile, name: str) -> Iterator[dict[str, Any]]:
    if name not in bundle.namelist():  # of a release that had no such table yet
        return
    with bundle.open(name) as lines:
        yield from map(json.loads, lines)


def _opened(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    except zipfile.BadZipFile:
        raise DataError(f"{file} is no backup, or only a part of one") from None


def _contents(bundle: zipfile.ZipFile) -> Contents:
    try:
        raw = json.loads(_member(bundle, _CONTENTS))
        if raw["format"] != FORMAT:
            raise DataError(f"{bundle.filename}: format {raw['format']!r} is not {FORMAT!r}")
        lists = {name: tuple(raw[name]) for name in ("versions", "missing", "bases", "keys")}
        contents = Contents(**(raw | lists))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{bundle.filename}: {_CONTENTS} cannot be read: {error}") from None
    _refuse_unknown(contents.rows)
    return contents


def _refuse_unknown(tables: Iterable[str]) -> None:
    if unknown := set(tables) - {table.name for table in archive.TABLES}:
        raise DataError(f"the backup is of another release: it has {', '.join(sorted(unknown))}")


def _member(bundle: zipfile.ZipFile, name: str) -> bytes:
    try:
        return bundle.read(name)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{bundle.filename}: {name} is missing or damaged: {error}") from None
