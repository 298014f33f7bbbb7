"""API keys: shown once, kept only as a digest. 256 random bits need no slow hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from trimtab.errors import AlreadyExists, InvalidInput, NotFound
from trimtab.ledger.clock import db_now
from trimtab.ledger.schema import api_keys

ROLES = ("predict", "feedback", "read", "operate")


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key without its secret; `client` is the name its samples carry, `revoked_at` epoch seconds or None."""

    name: str
    roles: frozenset[str]
    client: str
    created_at: float
    revoked_at: float | None


def add_key(tx: Connection, name: str, roles: Iterable[str], client: str = "") -> str:
    """Make a key and return its text, which is kept nowhere.

    Raises:
        AlreadyExists: The name is taken.
        InvalidInput: There is no role, or an unknown one.
    """
    wanted = sorted(set(roles))
    if not wanted or not set(wanted) <= set(ROLES):
        raise InvalidInput(f"roles: name at least one of {', '.join(ROLES)}.")
    if tx.execute(select(api_keys.c.name).where(api_keys.c.name == name)).one_or_none() is not None:
        raise AlreadyExists(f"There is already a key named {name!r}.")
    plain = f"tt_{secrets.token_urlsafe(32)}"
    row = {"name": name, "digest": _digest(plain), "roles": wanted, "client": client or name}
    tx.execute(insert(api_keys).values(**row, created_at=db_now()))
    return plain


def find_key(tx: Connection, plain: str) -> ApiKey | None:
    """The key of this text; None when it is unknown or revoked."""
    query = select(*_COLUMNS).where(api_keys.c.digest == _digest(plain), api_keys.c.revoked_at.is_(None))
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _key(row)


def list_keys(tx: Connection) -> list[ApiKey]:
    """Every key, revoked ones too, by name."""
    return [_key(row) for row in tx.execute(select(*_COLUMNS).order_by(api_keys.c.name)).mappings()]


def live_keys(tx: Connection) -> dict[bytes, ApiKey]:
    """Every key that is not revoked, by the sha256 digest of its text: for callers that check keys in memory."""
    query = select(api_keys.c.digest, *_COLUMNS).where(api_keys.c.revoked_at.is_(None))
    rows = [dict(row) for row in tx.execute(query).mappings()]
    return {bytes(row.pop("digest")): _key(row) for row in rows}


def revoke_key(tx: Connection, name: str) -> None:
    """Make a key worthless from now on; again is no change. Raises NotFound."""
    if tx.execute(select(api_keys.c.name).where(api_keys.c.name == name)).one_or_none() is None:
        raise NotFound(f"There is no key named {name!r}.")
    live = (api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    tx.execute(update(api_keys).where(*live).values(revoked_at=db_now()))


_COLUMNS = [column for column in api_keys.c if column.name != "digest"]


def _digest(plain: str) -> bytes:
    return hashlib.sha256(plain.encode("utf-8", "replace")).digest()


def _key(row: Mapping[Any, Any]) -> ApiKey:
    return ApiKey(**{**row, "roles": frozenset(row["roles"])})
