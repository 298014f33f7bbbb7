"""A version on disk: its files, the manifest that binds their digests, and the ed25519 signature over the manifest.

Order of trust: the signature covers manifest.json, the manifest covers every other file. Nothing is parsed as a
tensor before both hold.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from trimtab.errors import DigestMismatch, MalformedAdapter, SettingsError, SignatureInvalid

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
HEAD = "head.safetensors"
REMEDY = "remedy.json"
REFERENCES = "references.safetensors"
GATE = "gate.json"
BOUND_FILES = (WEIGHTS, CONFIG, HEAD, REMEDY, REFERENCES, GATE)
ALL_FILES = (*BOUND_FILES, MANIFEST, SIGNATURE)
SCHEMA = "trimtab-manifest/1"


@dataclass(frozen=True, kw_only=True)
class BaseIdentity:
    """The base model and tokenizer that an adapter belongs to, by content."""

    name: str
    digest: str
    tokenizer_digest: str


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Inputs and the logits (n, k) that the trainer's merged model gave for them."""

    texts: tuple[str, ...]
    logits: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class AdapterManifest:
    """Why this version exists and what it consists of."""

    model: str
    version: int
    created_at: float
    labels: tuple[str, ...]
    base: BaseIdentity
    # Digest of every file in BOUND_FILES: {name: {"sha256": hex, "bytes": n}}.
    files: Mapping[str, Mapping[str, Any]]
    golden: Golden
    parent: int | None = None
    parent_digest: str | None = None
    trigger: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    schema: str = SCHEMA

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @staticmethod
    def from_bytes(content: bytes) -> AdapterManifest:
        """Reads `to_bytes`. Raises MalformedAdapter."""
        try:
            raw = json.loads(content)
            if raw["schema"] != SCHEMA:
                raise MalformedAdapter(f"manifest schema {raw['schema']!r} is not {SCHEMA!r}")
            golden = raw.pop("golden")
            rows = tuple(tuple(row) for row in golden["logits"])
            base = BaseIdentity(**raw.pop("base"))
            labels = tuple(raw.pop("labels"))
            return AdapterManifest(
                base=base, labels=labels, golden=Golden(texts=tuple(golden["texts"]), logits=rows), **raw
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedAdapter(f"manifest.json cannot be read: {error}") from None


def file_digests(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """{name: {"sha256", "bytes"}} of the files that a manifest binds. Raises MalformedAdapter when one is missing."""
    missing = [name for name in BOUND_FILES if name not in files]
    if missing:
        raise MalformedAdapter(f"missing files: {', '.join(missing)}")
    return {
        name: {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
        for name in BOUND_FILES
    }


def sign(manifest: AdapterManifest, key: Ed25519PrivateKey) -> dict[str, bytes]:
    """manifest.json and manifest.sig."""
    content = manifest.to_bytes()
    return {MANIFEST: content, SIGNATURE: base64.b64encode(key.sign(content))}


def digest_of(files: Mapping[str, bytes]) -> str:
    """The version's digest: sha256 (hex) of manifest.json, which binds everything else."""
    if MANIFEST not in files:
        raise MalformedAdapter("missing files: manifest.json")
    return hashlib.sha256(files[MANIFEST]).hexdigest()


def verify(files: Mapping[str, bytes], key: Ed25519PublicKey, digest: str | None = None) -> AdapterManifest:
    """The manifest, after the signature, the version's digest and every file's digest were checked, in this order.

    Raises SignatureInvalid, DigestMismatch or MalformedAdapter.
    """
    if MANIFEST not in files or SIGNATURE not in files:
        raise SignatureInvalid("manifest.json or manifest.sig is missing")
    try:
        key.verify(base64.b64decode(files[SIGNATURE], validate=True), files[MANIFEST])
    except (InvalidSignature, binascii.Error):
        raise SignatureInvalid from None
    if digest is not None and digest_of(files) != digest:
        raise DigestMismatch(f"manifest.json has digest {digest_of(files)[:16]}, expected {digest[:16]}")
    manifest = AdapterManifest.from_bytes(files[MANIFEST])
    found = file_digests(files)
    wrong = [name for name in BOUND_FILES if found[name] != manifest.files.get(name)]
    if wrong:
        raise DigestMismatch(f"{', '.join(wrong)}: content differs from the manifest")
    return manifest


def create_keys(private_path: Path, public_path: Path) -> None:
    """Makes a signing key pair (PEM; the private one readable by its owner only), unless it is there already.

    A lost public key is derived again. Raises SettingsError when only the public key is there: a new pair would make
    every version signed before worthless.
    """
    if not private_path.exists():
        if public_path.exists():
            raise SettingsError(
                f"{public_path} is there, but not its private key {private_path}: put it back"
            )
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_key(private_path, pem, 0o600)
    if not public_path.exists():
        public = load_private_key(private_path).public_key()
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        write_key(public_path, pem, 0o644)


def write_key(path: Path, content: bytes, mode: int) -> None:
    """Writes a new key file; raises FileExistsError rather than overwrite one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """The key that signs versions. Raises SettingsError when it is missing or of another kind."""
    key = serialization.load_pem_private_key(_read_key(path, "TRIMTAB_SIGNING__PRIVATE_KEY"), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"TRIMTAB_SIGNING__PRIVATE_KEY: {path} is not an ed25519 key")
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """The key that verifies versions. Raises SettingsError when it is missing or of another kind."""
    return public_key_of(
        _read_key(path, "TRIMTAB_SIGNING__PUBLIC_KEY"), f"TRIMTAB_SIGNING__PUBLIC_KEY: {path}"
    )


def public_key_of(pem: bytes, name: str) -> Ed25519PublicKey:
    """The public key in a PEM text; `name` is what the error calls it. Raises SettingsError."""
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError:
        raise SettingsError(f"{name} is not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"{name} is not an ed25519 key")
    return key


def _read_key(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{setting}: {path}: {error.strerror}; `trimtab up` creates a pair in its home"
        ) from None
