"""The store: whole versions or none, addressed by digest only."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trimtab.adapter import ALL_FILES, MANIFEST, digest_of
from trimtab.errors import MalformedAdapter, SettingsError, StoreUnavailable, VersionNotFound
from trimtab.store import AdapterStore, CheckpointStore


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> AdapterStore:
    """A new store: a directory, and a bucket of a real S3 server."""
    if request.param == "directory":
        return AdapterStore((tmp_path / "store").as_uri())
    url: str = request.getfixturevalue("bucket")
    return AdapterStore(url)


FILES = {name: f"content of {name}".encode() for name in ALL_FILES}


def test_what_was_put_comes_back_and_putting_twice_changes_nothing(store: AdapterStore) -> None:
    digest = store.put(FILES)
    assert digest == digest_of(FILES) == store.put(FILES)
    assert store.get(digest) == FILES
    assert store.has(digest)


def test_the_manifest_is_written_last(store: AdapterStore) -> None:
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


def test_what_is_there_is_never_overwritten(store: AdapterStore) -> None:
    """Conditional writes: a second writer of the same name changes nothing, not even with other content."""
    digest = store.put(FILES)
    store._create(f"adapters/{digest}/gate.json", b"other")
    assert store.get(digest) == FILES


def test_many_writers_of_one_version_at_once(store: AdapterStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        digests = set(pool.map(lambda _: store.put(FILES), range(8)))
    assert digests == {digest_of(FILES)}
    assert store.get(digest_of(FILES)) == FILES


def test_what_is_deleted_is_gone_and_can_come_back(store: AdapterStore) -> None:
    digest = store.put(FILES)
    assert set(store.digests()) == {digest}
    store.delete(digest)
    store.delete(digest)
    assert not store.has(digest)
    assert store.digests() == {}
    with pytest.raises(VersionNotFound):
        store.get(digest)
    assert store.put(FILES) == digest
    assert store.get(digest) == FILES


def test_the_time_of_writing_is_known(store: AdapterStore) -> None:
    before = time.time()
    digest = store.put(FILES)
    # S3 tells whole seconds.
    assert before - 1.0 <= store.digests()[digest] <= time.time() + 1.0


def test_probing_leaves_nothing(store: AdapterStore) -> None:
    store.probe()
    store.probe()
    assert store.digests() == {}


def test_two_prefixes_of_a_bucket_are_two_stores(bucket: str) -> None:
    one, other = AdapterStore(f"{bucket}/one"), AdapterStore(f"{bucket}/other")
    digest = one.put(FILES)
    assert (one.has(digest), other.has(digest)) == (True, False)


def test_a_bucket_that_is_not_there_is_told(bucket: str) -> None:
    missing = AdapterStore("s3://no-such-bucket")
    with pytest.raises(StoreUnavailable):
        missing.put(FILES)
    with pytest.raises(StoreUnavailable):
        missing.digests()


def test_an_s3_server_that_is_away_is_told_soon(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        AdapterStore("s3://anything").get("0" * 64)


@pytest.fixture(params=["directory", "s3"])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    if request.param == "directory":
        return CheckpointStore(tmp_path.as_uri())
    url: str = request.getfixturevalue("bucket")
    return CheckpointStore(url)


def test_a_checkpoint_is_replaced_and_goes_with_its_job(checkpoints: CheckpointStore) -> None:
    one, other, fit = "1" * 32, "2" * 32, "f" * 64
    assert checkpoints.get(one, fit) is None
    assert checkpoints.jobs() == set()
    for job, content in ((one, b"old"), (one, b"new"), (other, b"its own")):
        checkpoints.put(job, fit, content)
    assert (checkpoints.get(one, fit), checkpoints.get(other, fit)) == (b"new", b"its own")
    assert checkpoints.jobs() == {one, other}
    checkpoints.delete(one)
    checkpoints.delete(one)
    assert checkpoints.jobs() == {other}
    assert checkpoints.get(one, fit) is None


def test_versions_and_checkpoints_do_not_see_each_other(tmp_path: Path) -> None:
    versions, checkpoints = AdapterStore(tmp_path.as_uri()), CheckpointStore(tmp_path.as_uri())
    digest = versions.put(FILES)
    checkpoints.put("1" * 32, "f" * 64, b"x")
    assert set(versions.digests()) == {digest}
    assert checkpoints.jobs() == {"1" * 32}


@pytest.mark.parametrize("name", ["../../etc", "", "short", "G" * 32])
def test_a_checkpoint_has_a_plain_name(tmp_path: Path, name: str) -> None:
    store = CheckpointStore(tmp_path.as_uri())
    with pytest.raises(ValueError, match="no name"):
        store.put(name, "f" * 64, b"x")
    with pytest.raises(ValueError, match="no name"):
        store.get("1" * 32, name)


def test_a_broken_place_for_checkpoints_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = CheckpointStore(folder.as_uri())
    folder.rmdir()
    folder.write_text("no directory")
    with pytest.raises(StoreUnavailable):
        store.put("1" * 32, "f" * 64, b"x")
