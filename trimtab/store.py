"""The adapter store: immutable versions, addressed by the digest of their manifest, in a directory or a bucket.

Beside them, for as long as a job runs, lie the checkpoints of its fits, which are replaced again and again.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from trimtab.adapter import ALL_FILES, MANIFEST, digest_of
from trimtab.errors import SettingsError, StoreUnavailable, VersionNotFound

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

# Whoever asks asks again by itself; the library would go on trying for three minutes.
_RETRIES: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_HEX = re.compile(r"^[0-9a-f]{16,64}$")


class AdapterStore:
    """Files of versions at `adapters/{digest}/{name}`: names come from ALL_FILES, digests are checked."""

    def __init__(self, url: str) -> None:
        """url: file:///dir or s3://bucket/prefix (credentials and endpoint from the usual AWS_ variables)."""
        self._store = _open(url)

    def put(self, files: Mapping[str, bytes]) -> str:
        """Writes a version and gives its digest; the manifest goes last: a version is there whole or not at all.

        Writing the same version again changes nothing. Raises StoreUnavailable.
        """
        digest = digest_of(files)
        for name in sorted(ALL_FILES, key=lambda name: name == MANIFEST):
            self._create(f"adapters/{digest}/{name}", files[name])
        return digest

    def get(self, digest: str) -> dict[str, bytes]:
        """Every file of a version, unchecked: see trimtab.adapter.verify. Raises VersionNotFound, StoreUnavailable."""
        if not _DIGEST.match(digest):
            raise VersionNotFound(f"{digest!r} is not a digest")
        try:
            return {
                name: bytes(obstore.get(self._store, f"adapters/{digest}/{name}").bytes())
                for name in ALL_FILES
            }
        except FileNotFoundError:
            raise VersionNotFound(f"the store has no version with digest {digest[:16]}") from None
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"the adapter store cannot be read: {error}") from None

    def has(self, digest: str) -> bool:
        """Whether a whole version with this digest is there. Raises StoreUnavailable."""
        try:
            obstore.head(self._store, f"adapters/{digest}/{MANIFEST}")
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"the adapter store cannot be read: {error}") from None
        return True

    def digests(self) -> dict[str, float]:
        """Digest of every version that has a file here, with when its newest was written (epoch seconds).

        Raises StoreUnavailable.
        """
        found: dict[str, float] = {}
        try:
            for page in obstore.list(self._store, "adapters/"):
                for item in page:
                    digest = item["path"].split("/")[-2]
                    found[digest] = max(found.get(digest, 0.0), item["last_modified"].timestamp())
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"the adapter store cannot be read: {error}") from None
        return found

    def delete(self, digest: str) -> None:
        """Removes a version, the manifest first: it is there whole or not at all. Raises StoreUnavailable."""
        for name in sorted(ALL_FILES, key=lambda name: name != MANIFEST):
            self._remove(f"adapters/{digest}/{name}")

    def probe(self) -> None:
        """Writes an object, sees that it cannot be written again, and removes it. Raises StoreUnavailable."""
        path = f"probes/{uuid.uuid4().hex}"
        try:
            obstore.put(self._store, path, b"probe", mode="create")
            obstore.put(self._store, path, b"again", mode="create")
        except AlreadyExistsError:
            return
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"the adapter store cannot be written: {error}") from None
        finally:
            self._remove(path)
        raise StoreUnavailable("the adapter store overwrites objects: it has no conditional writes")

    def _remove(self, path: str) -> None:
        try:
            obstore.delete(self._store, path)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"the adapter store cannot be written: {error}") from None

    def _create(self, path: str, content: bytes) -> None:
        try:
            obstore.put(self._store, path, content, mode="create")
        except AlreadyExistsError:
            return
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"the adapter store cannot be written: {error}") from None


class CheckpointStore:
    """Objects at `checkpoints/{job}/{fit}`, both in hexadecimal; each is replaced as a whole."""

    def __init__(self, url: str) -> None:
        """url: the adapter store's. Raises SettingsError."""
        self._store = _open(url)

    def put(self, job: str, fit: str, content: bytes) -> None:
        """Writes or replaces a checkpoint. Raises StoreUnavailable."""
        try:
            obstore.put(self._store, _place(job, fit), content)
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"the adapter store cannot be written: {error}") from None

    def get(self, job: str, fit: str) -> bytes | None:
        """A checkpoint as it was written, None when there is none. Raises StoreUnavailable."""
        try:
            return bytes(obstore.get(self._store, _place(job, fit)).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"the adapter store cannot be read: {error}") from None

    def jobs(self) -> set[str]:
        """Jobs that have a checkpoint. Raises StoreUnavailable."""
        return {path.split("/")[-2] for path in self._paths("checkpoints/")}

    def delete(self, job: str) -> None:
        """Removes the checkpoints of a job. Raises StoreUnavailable."""
        for path in self._paths(f"checkpoints/{job}/"):
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                continue
            except (BaseError, OSError) as error:
                raise StoreUnavailable(f"the adapter store cannot be written: {error}") from None

    def _paths(self, folder: str) -> list[str]:
        try:
            return [item["path"] for page in obstore.list(self._store, folder) for item in page]
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"the adapter store cannot be read: {error}") from None


def _open(url: str) -> ObjectStore:
    try:
        if url.startswith("file:"):
            return from_url(url, mkdir=True)
        return from_url(url, retry_config=_RETRIES)
    except (BaseError, ValueError, OSError) as error:
        raise SettingsError(f"TRIMTAB_STORE__URL: {error}") from None


def _place(job: str, fit: str) -> str:
    if not (_HEX.match(job) and _HEX.match(fit)):
        raise ValueError(f"{job!r} or {fit!r} is no name of a checkpoint")
    return f"checkpoints/{job}/{fit}"
