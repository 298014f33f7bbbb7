"""The store: whole versions or none, addressed by digest only."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.adapter import ALL_FILES, MANIFEST, digest_of
from trimtab.errors import MalformedAdapter, SettingsError, StoreUnavailable, VersionNotFound
from trimtab.store import AdapterStore

FILES = {name: f"content of {name}".encode() for name in ALL_FILES}


def test_what_was_put_comes_back_and_putting_twice_changes_nothing(tmp_path: Path) -> None:
    store = AdapterStore((tmp_path / "store").as_uri())
    digest = store.put(FILES)
    assert digest == digest_of(FILES) == store.put(FILES)
    assert store.get(digest) == FILES
    assert store.has(digest)


def test_the_manifest_is_written_last(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path.as_uri())
    incomplete = {name: content for name, content in FILES.items() if name != "gate.json"}
    with pytest.raises(KeyError):
        store.put(incomplete)
    assert not store.has(digest_of(FILES))
    assert store.put(FILES)
    assert store.has(digest_of(FILES))


def test_a_version_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedAdapter):
        AdapterStore(tmp_path.as_uri()).put({name: b"" for name in ALL_FILES if name != MANIFEST})


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64])
def test_only_a_known_digest_is_read(tmp_path: Path, digest: str) -> None:
    with pytest.raises(VersionNotFound):
        AdapterStore(tmp_path.as_uri()).get(digest)


def test_a_lost_file_means_the_version_is_not_there(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path.as_uri())
    digest = store.put(FILES)
    (tmp_path / "adapters" / digest / "head.safetensors").unlink()
    with pytest.raises(VersionNotFound):
        store.get(digest)


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="TRIMTAB_STORE__URL"):
        AdapterStore((tmp_path / "file").as_uri())
    with pytest.raises(SettingsError, match="TRIMTAB_STORE__URL"):
        AdapterStore("nonsense://x")


def test_a_broken_store_says_so(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path.as_uri())
    digest = store.put(FILES)
    file = tmp_path / "adapters" / digest / "head.safetensors"
    file.unlink()
    file.mkdir()
    with pytest.raises((StoreUnavailable, VersionNotFound)):
        store.get(digest)
