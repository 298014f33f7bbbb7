"""Signature before digests before anything else; one flipped byte anywhere is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trimtab.adapter import (
    ALL_FILES,
    BOUND_FILES,
    MANIFEST,
    AdapterManifest,
    BaseIdentity,
    Golden,
    create_keys,
    digest_of,
    file_digests,
    load_private_key,
    load_public_key,
    sign,
    verify,
)  # fmt: skip
from trimtab.errors import AdapterRefused, DigestMismatch, MalformedAdapter, SettingsError, SignatureInvalid

KEY = Ed25519PrivateKey.generate()


def signed_files() -> dict[str, bytes]:
    files = {name: f"content of {name}".encode() for name in BOUND_FILES}
    manifest = AdapterManifest(
        model="toy", version=3, created_at=1.5, labels=("no", "yes"), files=file_digests(files),
        base=BaseIdentity(name="b", digest="d", tokenizer_digest="t"),
        golden=Golden(texts=("ü",), logits=((0.1, -2.0),)), parent=2, trigger={"report": "r1"},
    )  # fmt: skip
    return files | sign(manifest, KEY)


def test_a_whole_version_verifies_and_reads_back() -> None:
    files = signed_files()
    manifest = verify(files, KEY.public_key(), digest_of(files))
    assert (manifest.model, manifest.version, manifest.labels, manifest.parent) == (
        "toy",
        3,
        ("no", "yes"),
        2,
    )
    assert manifest.golden == Golden(texts=("ü",), logits=((0.1, -2.0),))
    assert manifest.to_bytes() == files[MANIFEST]


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("position", [0, -1])
def test_a_flipped_byte_is_refused(name: str, position: int) -> None:
    files = signed_files()
    content = bytearray(files[name])
    content[position] ^= 1
    expected = DigestMismatch if name in BOUND_FILES else SignatureInvalid
    with pytest.raises(expected):
        verify(files | {name: bytes(content)}, KEY.public_key())


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_missing_file_is_refused(name: str) -> None:
    files = signed_files()
    del files[name]
    with pytest.raises(AdapterRefused, match="missing"):
        verify(files, KEY.public_key())


def test_another_key_is_not_trusted() -> None:
    with pytest.raises(SignatureInvalid):
        verify(signed_files(), Ed25519PrivateKey.generate().public_key())


def test_a_valid_version_under_another_digest_is_refused() -> None:
    with pytest.raises(DigestMismatch, match="expected"):
        verify(signed_files(), KEY.public_key(), "0" * 64)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"schema":"other/9"}'])
def test_a_manifest_of_another_shape_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedAdapter):
        AdapterManifest.from_bytes(content)


def test_keys_are_made_once_and_the_private_one_is_private(tmp_path: Path) -> None:
    private, public = tmp_path / "keys" / "a.pem", tmp_path / "keys" / "b.pem"
    create_keys(private, public)
    before = private.read_bytes()
    create_keys(private, public)
    assert private.read_bytes() == before
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    signature = load_private_key(private).sign(b"x")
    load_public_key(public).verify(signature, b"x")


def test_a_lost_public_key_is_derived_again(tmp_path: Path) -> None:
    private, public = tmp_path / "a.pem", tmp_path / "b.pem"
    create_keys(private, public)
    before = public.read_bytes(), private.read_bytes()
    public.unlink()
    create_keys(private, public)
    assert (public.read_bytes(), private.read_bytes()) == before


def test_a_lost_private_key_is_not_replaced(tmp_path: Path) -> None:
    """A new pair would make every version signed before worthless."""
    private, public = tmp_path / "a.pem", tmp_path / "b.pem"
    create_keys(private, public)
    before = public.read_bytes()
    private.unlink()
    with pytest.raises(SettingsError, match="put it back"):
        create_keys(private, public)
    assert (public.read_bytes(), private.exists()) == (before, False)


def test_a_missing_or_foreign_key_names_its_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"TRIMTAB_SIGNING__PUBLIC_KEY.*No such file"):
        load_public_key(tmp_path / "none.pem")
    foreign = tmp_path / "rsa.pem"
    foreign.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(SettingsError, match="not an ed25519 key"):
        load_private_key(foreign)
