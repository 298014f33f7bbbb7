"""Prior correction on real text: share of the oracle-prior gain, and milliseconds per 1,000 rows.

`python -m benchmarks.adaptation.prior [--seeds 5]`. Movie snippets; the champion is a head on the frozen base. Windows
of 1,000 predictions come with other shares of the classes, drawn from texts that were never trained on; the
correction sees their feature rows and no label. Plain accuracy is measured on other texts with the same shares. The
oracle corrects the same calibrated probabilities (BCTS) by the true shares.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import log_softmax

from service.demo.data import LABELS, cache_dir, fetch_archive, load_domains
from service.demo.model import packaged_model
from trimtab.adapter import REFERENCES
from trimtab.base import BaseModel, load_base
from trimtab.features import FeatureMap, Integers, Outputs, References, fit_feature_map
from workers.artefact import draft
from workers.classifier import TrainableClassifier
from workers.evaluate import Answers
from workers.fit import ReplaySet, TrainingSet
from workers.remedies.head import Weighted, refit
from workers.remedies.prior import propose_prior
from workers.remedies.temperature import fit_bcts
from workers.task import Declined, Task
from workers.workshop import LoadedVersion

SHARES = (0.1, 0.2, 0.5, 0.8, 0.9)  # of positive texts; movies have a half
STRONG = (0.1, 0.9)
WINDOW = TEST = 1000
TRAIN, REFERENCE = 2000, 1500
NOTHING = TrainingSet((), np.empty(0, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Corpus:
    """n texts with (n,) labels and what the base makes of them."""

    base: BaseModel
    texts: tuple[str, ...]
    labels: Integers
    outputs: Outputs

    def part(self, rows: Integers) -> Outputs:
        """The outputs of some rows."""
        o = self.outputs
        return Outputs(o.pooled[rows], o.logits[rows], o.n_tokens[rows], o.n_unknown[rows])

    def of(self, rows: Integers) -> tuple[str, ...]:
        return tuple(self.texts[i] for i in rows)


@dataclass(frozen=True)
class Window:
    """One window: accuracies on texts with its shares, the correction's time, and whether one was proposed."""

    seed: int
    share: float
    champion: float
    corrected: float
    oracle: float
    milliseconds: float
    proposed: bool


def read_corpus(n: int) -> Corpus:
    """The first n movie snippets in an order by chance, asked of the packaged base once. Raises DemoDataMissing."""
    rows = list(load_domains(fetch_archive(cache_dir()))["movie"])
    chosen = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:n]]
    base = load_base(str(packaged_model()), "cpu")
    bundle = draft(
        TrainableClassifier(base, 2, 0), model="movies", version=1, labels=LABELS, max_tokens=128
    ).bundle
    texts = tuple(row.text for row in chosen)
    labels = np.array([LABELS.index(row.label) for row in chosen])
    return Corpus(base, texts, labels, bundle.predict(texts))


def windows(corpus: Corpus, seed: int, shares: Sequence[float] = SHARES, sizes: int = 1) -> list[Window]:
    """One split of the corpus: a champion, and a window for each share. Sizes are divided by `sizes`."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(corpus.texts))
    cuts = (TRAIN // sizes, (TRAIN + REFERENCE) // sizes)
    train, reference, rest = np.split(order, cuts)
    champion, logits = _champion(corpus, train, reference)
    return [
        _window(corpus, champion, logits, reference, drawn, seed=seed, share=share)
        for share, drawn in ((each, _drawn(corpus, rest, each, sizes, random)) for each in shares)
    ]


def _champion(corpus: Corpus, train: Integers, reference: Integers) -> tuple[LoadedVersion, np.ndarray]:
    """A head on the frozen base with its references, and (n, k) logits of the whole corpus."""
    nothing = (np.zeros((2, corpus.base.hidden_size), np.float32), np.zeros(2, np.float32))
    rows = Weighted(corpus.outputs.pooled[train], corpus.labels[train], np.ones(len(train)))
    weight, bias = refit(rows, *nothing)
    network = TrainableClassifier(corpus.base, 2, 0)
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(weight))
        network.head.bias.copy_(torch.from_numpy(bias))
    made = draft(network, model="movies", version=1, labels=LABELS, max_tokens=128)
    logits = corpus.outputs.pooled @ weight.T + bias
    feature_map = fit_feature_map(corpus.outputs.pooled[train], LABELS)
    references = References(
        feature_map,
        rows={"movie": _rows(corpus, feature_map, logits, reference)},
        truth={"movie": corpus.labels[reference]},
        predicted={"movie": logits[reference].argmax(axis=1)},
        keys={"movie": tuple(map(str, reference))},
    )
    files = {**made.files, REFERENCES: references.to_bytes()}
    return LoadedVersion(1, "", files, Answers(made.bundle)), logits


def _rows(corpus: Corpus, feature_map: FeatureMap, logits: np.ndarray, rows: Integers) -> np.ndarray:
    outputs = replace(corpus.part(rows), logits=logits[rows].astype(np.float32))
    return feature_map.rows(outputs, corpus.of(rows))


def _drawn(
    corpus: Corpus, rest: Integers, share: float, sizes: int, random: np.random.Generator
) -> tuple[Integers, Integers]:
    """Window and test rows with this share of positive texts, disjoint as far as the corpus goes."""
    parts: tuple[list[int], list[int]] = ([], [])
    for label, wanted in ((1, share), (0, 1 - share)):
        pool = random.permutation(rest[corpus.labels[rest] == label])
        halves = np.split(pool, [len(pool) // 2])
        for part, half, n in zip(parts, halves, (WINDOW // sizes, TEST // sizes), strict=True):
            part.extend(half[: round(wanted * n)].tolist())
    return np.array(parts[0]), np.array(parts[1])


def _window(
    corpus: Corpus,
    champion: LoadedVersion,
    logits: np.ndarray,
    reference: Integers,
    drawn: tuple[Integers, Integers],
    *,
    seed: int,
    share: float,
) -> Window:
    seen, test = drawn
    feature_map = References.from_bytes(champion.files[REFERENCES]).feature_map
    task = Task(
        base=corpus.base, champion=champion, labels=LABELS, domain="movie", train=NOTHING, selection=NOTHING,
        replay=ReplaySet((), NOTHING.labels, np.empty((0, 2), np.float32)),
        window=_rows(corpus, feature_map, logits, seen), version=2,
    )  # fmt: skip
    started = time.process_time()
    found = propose_prior(task)
    spent = 1e3 * (time.process_time() - started) * 1000 / len(seen)
    remedy = champion.bundle.remedy if isinstance(found, Declined) else found.candidate.bundle.remedy
    truth, scores = corpus.labels[test], logits[test].astype(np.float32)
    return Window(
        seed, share,
        champion=_accuracy(champion.bundle.remedy.apply(scores), truth),
        corrected=_accuracy(remedy.apply(scores), truth),
        oracle=_accuracy(_oracle(corpus, logits, reference, test, share), truth),
        milliseconds=spent,
        proposed=not isinstance(found, Declined),
    )  # fmt: skip


def _oracle(
    corpus: Corpus, logits: np.ndarray, reference: Integers, test: Integers, share: float
) -> np.ndarray:
    temperature, bias = fit_bcts(logits[reference].astype(np.float64), corpus.labels[reference])
    before = np.bincount(corpus.labels[reference], minlength=2) / len(reference)
    after = np.log(np.array([1 - share, share]) / before)
    return np.asarray(log_softmax(logits[test] / temperature + bias + after, axis=1))


def _accuracy(scores: np.ndarray, truth: Integers) -> float:
    return float((scores.argmax(axis=1) == truth).mean())


def oracle_share(found: Sequence[Window]) -> float:
    """Share of the oracle's gain, of the summed gains: single windows gain too little to divide by."""
    gain = sum(each.corrected - each.champion for each in found)
    return gain / sum(each.oracle - each.champion for each in found)


def report(found: Sequence[Window]) -> str:
    """A table by share, and the goal."""
    lines = [
        "| positive | champion | corrected | oracle | of the oracle's gain | proposed |",
        "|" + "---|" * 6,
    ]
    for share in sorted({each.share for each in found}):
        rows = [each for each in found if each.share == share]
        means = [np.mean([getattr(e, name) for e in rows]) for name in ("champion", "corrected", "oracle")]
        gain = f"{oracle_share(rows):.0%}" if abs(means[2] - means[0]) > 0.01 else "-"
        proposed = f"{sum(e.proposed for e in rows)} of {len(rows)}"
        lines.append(
            f"| {share:.0%} | " + " | ".join(f"{m:.3f}" for m in means) + f" | {gain} | {proposed} |"
        )
    strong = [each for each in found if each.share in STRONG]
    spent = [each.milliseconds for each in found]
    lines += ["", f"Strong shifts: {oracle_share(strong):.1%} of the oracle-prior gain (goal: 90 %)."]
    lines += [
        f"CPU time per 1,000 rows: median {np.median(spent):.0f} ms, largest {max(spent):.0f} ms (goal: 50)."
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the study and prints its report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptation.prior", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the report there")
    parser.add_argument("--json", type=Path, help="write the windows to this file")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    corpus = read_corpus(10_000)
    found = [each for seed in range(arguments.seeds) for each in windows(corpus, seed)]
    told = report(found)
    print(told)  # the report is what the command is for
    if arguments.out is not None:
        arguments.out.write_text(told + "\n", encoding="utf-8")
    if arguments.json is not None:
        text = json.dumps([asdict(each) for each in found], indent=1, default=float)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
