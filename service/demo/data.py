"""The demo's text: four domains of human-rated sentences (Hutto & Gilbert, VADER, ICWSM 2014).

They travel in the source archive of `vaderSentiment==0.5` on PyPI (MIT). The archive is fetched by pip with its
sha256 pinned (pip compares it before it runs anything of the archive), kept in the user's cache, and only read.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trimtab.datafiles import Row
from trimtab.errors import DataError, TrimtabError
from trimtab.splits import normalise

REQUIREMENT = "vaderSentiment==0.5"
ARCHIVE_NAME = "vaderSentiment-0.5.zip"
ARCHIVE_SHA256 = "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a"
CITATION = "Hutto & Gilbert (2014), VADER: A Parsimonious Rule-based Model for Sentiment Analysis. ICWSM-14"
MIN_RATING = 0.5  # mean ratings lie in [-4, 4]; nearer to 0 the raters did not agree on a sign
LABELS = ("negative", "positive")

_INNER = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
_FILES = {
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
}
_GROUPED = frozenset({"amazon", "nyt"})  # snippets of one review or article share the id before "_"
_RETWEET = re.compile(r"^\s*(?:rt\s+)?(?:@\w+:?\s*)+|https?://\S+", re.IGNORECASE)
_FETCH_S = 300.0


class DemoDataMissing(TrimtabError):
    """The demo's data cannot be fetched."""


def cache_dir() -> Path:
    """Where downloads of the demo are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab"


def fetch_archive(cache: Path) -> Path:
    """The source archive in `cache`, downloaded once.

    Raises:
        DemoDataMissing: it cannot be downloaded, or its sha256 differs; the message says what to do.
    """
    path = cache / ARCHIVE_NAME
    if path.exists() and _sha256(path) == ARCHIVE_SHA256:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        _download(Path(directory))
        Path(directory, ARCHIVE_NAME).replace(path)
    return path


def load_domains(archive: Path) -> dict[str, tuple[Row, ...]]:
    """The rows of each domain in file order: rated at least `MIN_RATING` away from 0, unescaped, deduplicated.

    Raises:
        DataError: the archive is not the expected one.
    """
    try:
        with zipfile.ZipFile(archive) as outer:
            inner = outer.read(_INNER)
        with tarfile.open(fileobj=io.BytesIO(inner), mode="r:gz") as tar:
            contents = {domain: _member(tar, name) for domain, name in _FILES.items()}
    except (OSError, KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError(f"{archive}: not the source archive of {REQUIREMENT} ({error})") from None
    return {domain: tuple(_unique(_rows(domain, content))) for domain, content in contents.items()}


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Rows as `trimtab init --data` reads them."""
    members = [{"text": row.text, "label": row.label, "id": row.id, "domain": row.domain} for row in rows]
    path.write_text(
        "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in members), encoding="utf-8"
    )
    return path


def _download(directory: Path) -> None:
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{ARCHIVE_SHA256}\n", encoding="ascii")
    options = [
        "--no-deps",
        "--no-binary",
        ":all:",
        "--no-build-isolation",
        "--quiet",
        "--disable-pip-version-check",
    ]
    argv = [sys.executable, "-m", "pip", "download", *options, "-d", str(directory), "-r", str(requirements)]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_FETCH_S, env=_pip_environment(), check=False
        )
    except subprocess.TimeoutExpired:
        raise DemoDataMissing(_advice(directory.parent, f"no answer within {_FETCH_S:.0f} s")) from None
    if done.returncode != 0 or not (directory / ARCHIVE_NAME).exists():
        lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        raise DemoDataMissing(_advice(directory.parent, lines[-1]))


def _pip_environment() -> Mapping[str, str]:
    """Without the constraints of an installation in progress: they do not speak of this archive."""
    return {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}


def _advice(cache: Path, reason: str) -> str:
    return (
        f"cannot download {REQUIREMENT} ({reason}): fetch {ARCHIVE_NAME} elsewhere "
        f"(sha256 {ARCHIVE_SHA256}) and put it into {cache}"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _member(tar: tarfile.TarFile, name: str) -> str:
    file = tar.extractfile(f"hutto_ICWSM_2014/{name}")
    if file is None:
        raise KeyError(name)
    return file.read().decode("utf-8", errors="replace")


def _rows(domain: str, content: str) -> Iterator[Row]:
    """One row per line "id TAB mean rating TAB text" that is rated clearly enough."""
    for number, line in enumerate(content.replace("\r\n", "\n").split("\n"), start=1):
        parts = line.split("\t", 2)
        if len(parts) != 3 or abs(float(parts[1])) < MIN_RATING:
            continue
        yield Row(
            text=html.unescape(parts[2]).strip(),
            label=LABELS[float(parts[1]) > 0],
            id=f"{domain}-{parts[0]}",
            domain=domain,
            group=f"{domain}-{parts[0].partition('_')[0]}" if domain in _GROUPED else None,
            line=number,
        )


def _unique(rows: Iterator[Row]) -> Iterator[Row]:
    """Without repetitions: a retweet is its tweet, so mentions in front and addresses do not count."""
    seen: set[str] = set()
    for row in rows:
        key = normalise(_RETWEET.sub(" ", row.text)) or normalise(row.text)
        if key and key not in seen:
            seen.add(key)
            yield row
