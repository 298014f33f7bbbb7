"""One look: the detector's reading against everything a version knows, in a frozen finding."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from monitoring.calibration import OFF, ArmThreshold, Thresholds
from monitoring.change import change_start
from monitoring.detector import Look, Reading
from monitoring.harm import MIN_LABELLED, ConfidenceModel
from monitoring.histograms import Doubles, Floats, bin_rows, count, distribution
from monitoring.labelled import confidence_of, labelled_reference
from monitoring.mixture import Hypothesis, KnownDomains, blend, mixture_weights
from trimtab.drift import ArmStatistic, FeatureDrift, LabelledRisk
from trimtab.features import References
from trimtab.stats.sequential import SOURCE_LEVEL, upper_bound

MIN_SHARE = 0.01  # a domain with less weight in a mixture is not part of it
N_FEATURES = 8  # most drifted features that a report names


@dataclass(frozen=True)
class Baseline:
    """What a version knows.

    Attributes:
        version: Number of the version.
        known: References of the accepted domains, as the detector needs them.
        references: The same rows with labels, keys and order.
        thresholds: One a domain, in the order of `known.names`.
    """

    version: int
    known: KnownDomains
    references: References
    thresholds: tuple[Thresholds, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the d features."""
        return self.references.feature_map.names

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the k classes."""
        return self.references.feature_map.labels

    @property
    def calibrated(self) -> bool:
        """Whether all thresholds are the simulated ones."""
        return all(each.calibrated for each in self.thresholds)

    @property
    def extrapolation(self) -> float:
        """The largest of the thresholds'."""
        return max(each.extrapolation for each in self.thresholds)

    @cached_property
    def source_risk(self) -> tuple[float, float]:
        """Wrong and all labelled rows of the domain on which the version is worst; (0, 0) where nothing is labelled.

        Labels are compared with the worst domain, for nobody knows which mixture of them traffic is at the time.
        """
        labelled = [
            labelled_reference(self.references, self.known.names, each) for each in self.known.domains
        ]
        enough = [(each.n_wrong, each.n_effective) for each in labelled if each.n_effective >= MIN_LABELLED]
        return max(enough, key=lambda pair: upper_bound(pair[0], pair[1], SOURCE_LEVEL), default=(0.0, 0.0))

    @cached_property
    def confidence(self) -> dict[str, ConfidenceModel | None]:
        """What each domain's labelled rows say about confidence; None where there are too few."""
        return {each.name: self.confidence_for(each) for each in self.known.domains}

    def confidence_for(self, hypothesis: Hypothesis) -> ConfidenceModel | None:
        """What the labelled rows say about confidence, in the shares of a hypothesis."""
        return confidence_of(labelled_reference(self.references, self.known.names, hypothesis), self.features)

    @property
    def ordered(self) -> bool:
        """Whether dependence between neighbouring events was looked for in every reference."""
        return self.references.ordered.issuperset(self.known.names)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a look found; see `DriftReport`.

    Attributes:
        look: The window that speaks, beside the hypothesis that explains it best: that of the short window, or of
            the long one where that is further above its threshold.
        n_window: Events in that window.
        threshold: Of its energy.
        arms: Statistics with their thresholds.
        anchor_ks: Largest D of the longest full window against the nearest domain of version 1.
    """

    look: Look
    n_window: int
    threshold: float
    arms: tuple[ArmStatistic, ...]
    anchor_ks: float

    @property
    def alarm(self) -> bool:
        """Some arm is above its threshold."""
        return any(arm.alarm for arm in self.arms)

    @property
    def max_ks(self) -> float:
        """The effect: largest D of the window that speaks."""
        return self.look.max_ks


def judge_reading(
    baseline: Baseline, reading: Reading, sizes: tuple[int, int], labelled: LabelledRisk | None
) -> Finding:
    """Compare a reading with a full short window with the thresholds.

    Drift means that no hypothesis explains a window, so in each window the one with the smallest statistic over
    threshold speaks.

    Args:
        baseline: Of the version that the detector follows.
        reading: Its short window is full.
        sizes: Events in the short and in the long window.
        labelled: The test on labelled traffic, one of the arms where there is one.
    """
    windows = [_judge_window(baseline, reading.short, "short")]
    if reading.long is not None:
        windows.append(_judge_window(baseline, reading.long, "long"))
    short, last = windows[0][1], windows[-1][1]
    speaks = -1 if last.alarm and last.ratio > short.ratio else 0
    spoken, arm = windows[speaks]
    return Finding(
        look=spoken,
        n_window=sizes[speaks],
        threshold=arm.threshold,
        arms=(*_e_detector(baseline, reading), *(each for _, each in windows), *_labels(labelled)),
        anchor_ks=_anchor_ks(baseline, reading.long or reading.short),
    )


def threshold_of(baseline: Baseline, hypothesis: Hypothesis, arm: str) -> ArmThreshold:
    """Of an arm against a hypothesis: for a mixture the largest threshold of its parts.

    What mixing adds to the spread of a window, the random number of events of each domain, is just what the fitted
    weights take out again; the rest is no wider than in the widest part.
    """
    parts: Iterator[ArmThreshold] = (
        getattr(thresholds, arm)
        for thresholds, share in zip(baseline.thresholds, hypothesis.weights, strict=True)
        if share >= MIN_SHARE
    )
    return max(parts, key=lambda part: part.value)


def shares(known: KnownDomains, weights: Doubles) -> dict[str, float]:
    """Domain to share, those too small to count at 0; sums to 1."""
    kept = np.where(weights >= MIN_SHARE, weights, 0.0)
    return {name: round(float(share), 4) for name, share in zip(known.names, kept / kept.sum(), strict=True)}


def most_drifted(baseline: Baseline, look: Look) -> tuple[FeatureDrift, ...]:
    """The features with the largest binned D, largest first."""
    ks, energy = look.ks, max(look.energy, 1e-12)
    largest = np.argsort(-ks, kind="stable")[:N_FEATURES]
    return tuple(
        FeatureDrift(name=baseline.features[i], ks=float(ks[i]), share=float(ks[i] ** 2 / energy))
        for i in largest
    )


def change_index(known: KnownDomains, samples: Floats, window: int) -> int:
    """Index of the first changed sample of (n, d) samples in order of arrival; the oldest are taken as unchanged."""
    before = distribution(count(bin_rows(known.edges, samples[:window])))
    return change_start(blend(known, mixture_weights(known, before)), samples)


def _judge_window(baseline: Baseline, looks: tuple[Look, ...], arm: str) -> tuple[Look, ArmStatistic]:
    """The hypothesis that explains a window best, with its statistic."""
    judged = [(look, _arm(arm, look.energy, threshold_of(baseline, look.hypothesis, arm))) for look in looks]
    return min(judged, key=lambda pair: pair[1].ratio)


def _arm(name: str, statistic: float, threshold: ArmThreshold) -> ArmStatistic:
    return ArmStatistic(
        name=name, statistic=statistic, threshold=threshold.value, low=threshold.low, high=threshold.high
    )


def _e_detector(baseline: Baseline, reading: Reading) -> tuple[ArmStatistic, ...]:
    """M below 1 is no evidence at all and shown as 1; an arm that is off is left out."""
    threshold = max((each.e_detector for each in baseline.thresholds), key=lambda each: each.value)
    return () if threshold.value >= OFF else (_arm("e_detector", max(reading.e_detector, 0.0), threshold),)


def _labels(labelled: LabelledRisk | None) -> tuple[ArmStatistic, ...]:
    if labelled is None:
        return ()
    statistic = max(labelled.statistic, 0.0)
    return (ArmStatistic(name="labels", statistic=statistic, threshold=labelled.threshold),)


def _anchor_ks(baseline: Baseline, looks: tuple[Look, ...]) -> float:
    """Without known anchors, an older version's reference: all domains are."""
    anchors = set(baseline.references.anchors) & set(baseline.known.names) or set(baseline.known.names)
    return min(look.max_ks for look in looks if look.hypothesis.name in anchors)
