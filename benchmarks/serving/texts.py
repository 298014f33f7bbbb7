"""The texts that everything is measured on: the demo's four domains of rated sentences, shuffled by a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from service.demo.data import cache_dir, fetch_archive, load_domains
from trimtab.base import BaseModel
from trimtab.datafiles import Row

SEED = 20


def rated_rows() -> list[Row]:
    """Every row of every domain, shuffled. Raises DemoDataMissing when the archive cannot be had."""
    domains = load_domains(fetch_archive(cache_dir()))
    rows = [row for domain in sorted(domains) for row in domains[domain]]
    random.Random(SEED).shuffle(rows)
    return rows


def describe(base: BaseModel, texts: Sequence[str]) -> str:
    """How long the texts are, in tokens with the special ones."""
    counts = sorted(base.count_tokens(texts))
    at = {share: counts[round(share * (len(counts) - 1))] for share in (0.05, 0.5, 0.95)}
    mean = sum(counts) / len(counts)
    return (
        f"{len(counts)} texts, tokens with special ones: mean {mean:.1f}, "
        f"p5 {at[0.05]}, p50 {at[0.5]}, p95 {at[0.95]}, longest {counts[-1]}"
    )
