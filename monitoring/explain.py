"""Why is it drift? Which features moved, which inputs are new, whose they are. Made with every alarm, not before.

What is new is found by a linear discriminant of the window against what is known (Rabanser, Guennemann, Lipton 2019,
arXiv 1810.11953, use a domain classifier so). Every row is scored by a discriminant that was fitted without it, on
other stretches of the window, so that its separability and its shares are not those of its own noise.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp, rankdata

from monitoring.histograms import Doubles, Floats, bin_rows, count, distribution, energy, ks_binned
from monitoring.mixture import Hypothesis, KnownDomains, hypotheses
from trimtab.drift import Explanation, FeatureDrift, Share
from trimtab.features import References

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

N_FEATURES = 8
N_EXAMPLES = 10
N_SHARES = 5
N_BINS = 16
MAX_KNOWN = 2000  # rows of what is known that a window is compared with
MIN_SHARE = 0.01  # a domain with less weight in a mixture is not part of it
FOLDS = 4
STRETCH = 25  # neighbouring events fall into one fold: events of one session are alike
FARTHEST = 4.0  # standardised values beyond are cut: one odd feature must not make the discriminant
RIDGE = 0.1  # of the mean variance, added to the covariance: directions with little variance are not trusted
NEARLY = 0.01  # of a share: a cut this much worse is taken when it leaves fewer known rows above it
SURE = 2.326  # standard normal quantile of the one-sided bound: 99 %
MOST = 0.5  # of the new events: above it one client accounts for the change
MIN_REST = 100  # events of the other clients, without which nothing can be said of them
NOT_NAMED = "(none)"
QUIETER = 0.25  # of the client's rate of new events: the others' must be below it


@dataclass(frozen=True)
class Window:
    """n events of the traffic, oldest first: (n, d) feature rows, (n,) predicted label indices, and who sent them."""

    rows: Floats
    predicted: Integers
    clients: tuple[str, ...]
    domains: tuple[str | None, ...]
    prediction_ids: tuple[str, ...]


@dataclass(frozen=True)
class Novelty:
    """How new each event of a window looks.

    Attributes:
        known: (r, d) rows of what is known; keys: of their texts.
        scores: (n,) of the window's events, known_scores: (r,), both cross-fitted; larger is newer.
        new: (n,) events beyond the cut of their fold, which the other folds chose; known_new: (r,) the same.
        scale: (d,) spread of the known rows.
    """

    known: Floats
    keys: tuple[str, ...]
    scores: Doubles
    known_scores: Doubles
    new: Bools
    known_new: Bools
    scale: Doubles

    @property
    def separability(self) -> float:
        """Probability that an event scores above a known row (AUC)."""
        ranks = rankdata(np.concatenate([self.known_scores, self.scores]))[len(self.known_scores) :]
        n = len(self.scores)
        return float((ranks.mean() - (n + 1) / 2) / len(self.known_scores))

    @property
    def unexplained(self) -> tuple[float, float]:
        """Estimated share of events that no mixture of what is known explains, and its one-sided 99 % bound.

        If a share s of the window is new and the rest like what is known, no event set differs in its probability by
        more than s. The set was chosen without the events it is counted on. Interval of Agresti and Caffo (2000).
        """
        n, r = len(self.new) + 2, len(self.known_new) + 2
        p, q = (self.new.sum() + 1) / n, (self.known_new.sum() + 1) / r
        low = p - q - SURE * math.sqrt(p * (1 - p) / n + q * (1 - q) / r)
        return max(float(self.new.mean() - self.known_new.mean()), 0.0), max(float(low), 0.0)


def find_novelty(
    known: KnownDomains, hypothesis: Hypothesis, references: References, rows: Floats
) -> Novelty:
    """Scores the (n, d) events of a window, n >= 8, against rows that are mixed as the hypothesis says."""
    before, keys = known_rows(known, hypothesis, references)
    scale = np.maximum(before.std(axis=0, dtype=np.float64), 1e-6)
    centre = before.mean(axis=0, dtype=np.float64)
    old, new = _shapes(before, centre, scale), _shapes(rows, centre, scale)
    folds, old_folds = _folds(len(new)), _folds(len(old))
    scores, old_scores = np.empty(len(new)), np.empty(len(old))
    for fold in range(FOLDS):
        out, old_out = folds == fold, old_folds == fold
        score = _discriminant(old[~old_out], new[~out])
        scores[out], old_scores[old_out] = score(new[out]), score(old[old_out])
    flagged, old_flagged = np.empty(len(new), dtype=bool), np.empty(len(old), dtype=bool)
    for fold in range(FOLDS):
        out, old_out = folds == fold, old_folds == fold
        cut = _best_cut(old_scores[~old_out], scores[~out])
        flagged[out], old_flagged[old_out] = scores[out] > cut, old_scores[old_out] > cut
    return Novelty(before, keys, scores, old_scores, flagged, old_flagged, scale)


def explain(
    known: KnownDomains,
    hypothesis: Hypothesis,
    references: References,
    window: Window,
    names: Sequence[str],
    novelty: Novelty | None = None,
) -> Explanation:
    """All that a report says about why; `names` are those of the d features. Takes 20 to 30 ms of CPU time."""
    found = novelty or find_novelty(known, hypothesis, references, window.rows)
    typical = np.argsort(-found.scores, kind="stable")[:N_EXAMPLES]
    share, low = found.unexplained
    weights = {name: float(weight) for name, weight in zip(known.names, hypothesis.weights, strict=True)}
    return Explanation(
        features=drifted_features(found.known, window.rows, names),
        unexplained_share=share,
        unexplained_low=low,
        separability=found.separability,
        typical_new=tuple(window.prediction_ids[i] for i in typical),
        nearest_old=_nearest_keys(found, window.rows[typical]),
        clients=_shares(window.clients, found.new),
        domains=_shares(window.domains, found.new, weights),
    )


def concentrated(
    known: KnownDomains, window: Window, novelty: Novelty, *, threshold: float, n_reference: float
) -> Share | None:
    """The one of several clients that sent more than half of the new events, if the others' traffic is quiet.

    Args:
        threshold: of the KS energy of a window of this size, calibrated for a reference of `n_reference` rows. The
            others' events are fewer, so it is raised by the sampling variance that this adds.

    Returns:
        None as well when the others sent fewer than 100 events, or when new events are as common among theirs.
    """
    excess = _excess_by_client(window.clients, novelty)
    client = max(sorted(excess), key=lambda each: excess[each])
    theirs = np.array([each == client for each in window.clients])
    rest = int((~theirs).sum())
    total = sum(max(value, 0.0) for value in excess.values())
    if rest < MIN_REST or excess[client] <= MOST * total:
        return None
    rate, others = excess[client] / theirs.sum(), (sum(excess.values()) - excess[client]) / rest
    if others > QUIETER * rate or not _quiet(
        known, window.rows[~theirs], len(theirs), threshold, n_reference
    ):
        return None
    return Share(name=client, share=float(theirs.mean()), share_new=float(theirs[novelty.new].mean()))


def known_rows(
    known: KnownDomains, hypothesis: Hypothesis, references: References
) -> tuple[Floats, tuple[str, ...]]:
    """At most 2,000 (r, d) reference rows in the hypothesis' shares, evenly spaced in each domain, and their keys."""
    parts = [
        (name, share)
        for name, share in zip(known.names, hypothesis.weights, strict=True)
        if share >= MIN_SHARE
    ]
    size = min(MAX_KNOWN, *(len(references.rows[name]) / share for name, share in parts))
    rows, keys = [], list[str]()
    for name, share in parts:
        n = len(references.rows[name])
        at = np.linspace(0, n - 1, min(max(int(size * share), 1), n)).astype(int)
        rows.append(references.rows[name][at])
        keys += [references.keys[name][i] for i in at]
    return np.concatenate(rows), tuple(keys)


def drifted_features(before: Floats, rows: Floats, names: Sequence[str]) -> tuple[FeatureDrift, ...]:
    """The features with the largest exact two-sample D, largest first, with 16-bin histograms of both samples."""
    test = ks_2samp(before, rows, axis=0, method="asymp")
    ks, p_values = np.asarray(test.statistic), np.asarray(test.pvalue)
    energy = max(float(np.square(ks).sum()), 1e-12)
    found = []
    for i in np.argsort(-ks, kind="stable")[:N_FEATURES]:
        edges = np.quantile(before[:, i], np.arange(1, N_BINS) / N_BINS, method="inverted_cdf")
        found.append(
            FeatureDrift(
                name=names[i],
                ks=float(ks[i]),
                p_value=float(p_values[i]),
                share=float(ks[i] ** 2 / energy),
                edges=tuple(edges.tolist()),
                before=_histogram(before[:, i], edges),
                after=_histogram(rows[:, i], edges),
            )
        )
    return tuple(found)


def _histogram(values: Floats, edges: Floats) -> tuple[float, ...]:
    counts = np.bincount(np.searchsorted(edges, values), minlength=N_BINS)
    return tuple((counts / len(values)).tolist())


def _shapes(rows: Floats, centre: Doubles, scale: Doubles) -> Doubles:
    """(n, 2 d): standardised features and their squares, so that shifts and changes of spread both show."""
    z = np.clip((rows - centre) / scale, -FARTHEST, FARTHEST)
    return np.hstack([z, np.square(z)])


def _discriminant(old: Doubles, new: Doubles) -> Callable[[Doubles], Doubles]:
    """Fisher's linear discriminant, ridged, in units of its spread over `old`: larger scores are more like `new`."""
    shift = new.mean(axis=0) - old.mean(axis=0)
    pooled = (np.cov(old.T) * len(old) + np.cov(new.T) * len(new)) / (len(old) + len(new))
    ridge = RIDGE * pooled.trace() / len(pooled)
    direction = np.linalg.solve(pooled + ridge * np.eye(len(pooled)), shift)
    usual = old @ direction
    centre, spread = usual.mean(), max(float(usual.std()), 1e-12)
    return lambda rows: np.asarray((rows @ direction - centre) / spread, dtype=np.float64)


def _best_cut(old: Doubles, new: Doubles) -> float:
    """The score above which the shares of new and old rows differ most surely; of near ties the highest."""
    cuts = np.quantile(new, np.linspace(0.02, 0.98, 97))
    p = 1.0 - (np.searchsorted(np.sort(new), cuts, side="right") + 1) / (len(new) + 2)
    q = 1.0 - (np.searchsorted(np.sort(old), cuts, side="right") + 1) / (len(old) + 2)
    low = p - q - SURE * np.sqrt(p * (1 - p) / (len(new) + 2) + q * (1 - q) / (len(old) + 2))
    return float(cuts[np.flatnonzero(low >= low.max() - NEARLY)[-1]])


def _folds(n: int) -> Integers:
    """Fold of each of n neighbouring rows: stretches of 25, shorter where there are few rows."""
    return np.asarray(np.arange(n) // max(min(STRETCH, n // FOLDS), 1) % FOLDS, dtype=np.int64)


def _nearest_keys(found: Novelty, rows: Floats) -> tuple[str, ...]:
    """Keys of the known texts nearest to each row, each text once; distances in units of the features' spread."""
    old, new = found.known / found.scale, rows / found.scale
    squared = np.square(old).sum(axis=1) - 2.0 * new @ old.T
    return tuple(dict.fromkeys(found.keys[i] for i in squared.argmin(axis=1) if found.keys[i]))


def _shares(
    names: Sequence[str | None], new: Bools, before: dict[str, float] | None = None
) -> tuple[Share, ...]:
    """The names with the most new events, then the most events; events without a name count together."""
    said = [NOT_NAMED if name is None else name for name in names]
    counts, of_new = Counter(said), Counter(name for name, is_new in zip(said, new, strict=True) if is_new)
    largest = sorted(counts, key=lambda name: (-of_new[name], -counts[name], name))[:N_SHARES]
    n_new = max(of_new.total(), 1)
    return tuple(
        Share(
            name=name,
            share=counts[name] / len(said),
            share_new=of_new[name] / n_new,
            share_before=None if before is None else before.get(name, 0.0),
        )
        for name in largest
    )


def _excess_by_client(clients: Sequence[str], novelty: Novelty) -> dict[str, float]:
    """New events of each client beyond as many as there would be among known rows."""
    usual = float(novelty.known_new.mean())
    excess: defaultdict[str, float] = defaultdict(float)
    for client, is_new in zip(clients, novelty.new, strict=True):
        excess[client] += float(is_new) - usual
    return excess


def _quiet(known: KnownDomains, rows: Floats, n_window: int, threshold: float, n_reference: float) -> bool:
    """Whether some hypothesis explains the rows; fewer rows than the window's make larger distances by chance."""
    seen = distribution(count(bin_rows(known.edges, rows)))
    distance = min(energy(ks_binned(each.distribution, seen)) for each in hypotheses(known, seen))
    raised = (1 / n_reference + 1 / len(rows)) / (1 / n_reference + 1 / n_window)
    return distance <= threshold * raised
