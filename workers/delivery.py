"""A sealed version is put into the store, read back, and tried as a replica will try it: before anybody promotes it."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.adapter import verify
from trimtab.base import BaseModel
from trimtab.bundle import build_bundle, self_test
from workers.workshop import Workshop


def deliver(shop: Workshop, base: BaseModel, files: Mapping[str, bytes], *, rejected: bool = False) -> str:
    """Puts a version into the store; returns its digest once what the store gives back has proved itself.

    A rejected one is only kept: it need not be able to answer.

    Raises:
        AdapterRefused: what comes back is damaged, not signed by us, or does not answer as it is said to.
        VersionNotFound: nothing, or not all of it, comes back.
        StoreUnavailable: the store cannot be reached.
    """
    digest = shop.store.put(files)
    if rejected:
        return digest
    returned = shop.store.get(digest)
    manifest = verify(returned, shop.public_key, digest)
    bundle = build_bundle(base, returned, manifest=manifest, digest=digest, max_tokens=shop.max_tokens)
    self_test(bundle, manifest.golden)
    return digest
