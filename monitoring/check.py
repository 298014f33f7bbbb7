"""One check: a window against everything its version knows, in a frozen finding."""

from dataclasses import dataclass

import numpy as np

from monitoring.calibration import Thresholds
from monitoring.change import change_start
from monitoring.ks import Doubles, Floats, sort_columns
from monitoring.mixture import Distance, KnownDomains, distances, mixture_weights
from trimtab.drift import ArmStatistic, FeatureDrift

MIN_SHARE = 0.01  # a domain with less weight in a mixture is not part of it
N_FEATURES = 8  # most drifted features that a report names


@dataclass(frozen=True)
class Baseline:
    """What a version knows: its references and their thresholds.

    Attributes:
        version: Number of the version.
        features: Names of the d features.
        known: References of the accepted domains.
        thresholds: One a domain, in the order of `known.names`.
    """

    version: int
    features: tuple[str, ...]
    known: KnownDomains
    thresholds: tuple[Thresholds, ...]

    @property
    def calibrated(self) -> bool:
        """Whether all thresholds are the simulated ones."""
        return all(each.calibrated for each in self.thresholds)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found, against the hypothesis that explains the window best; see `DriftReport`."""

    nearest: str
    mixture: dict[str, float]
    arms: tuple[ArmStatistic, ...]
    features: tuple[FeatureDrift, ...]
    max_ks: float
    alarm: bool
    actionable: bool
    calibrated: bool


def check_window(baseline: Baseline, window: Floats, min_effect: float) -> Finding:
    """Compare an (m, d) window with each known domain and with their best mixture.

    Drift means that no hypothesis explains the window, so the one with the smallest statistic over threshold
    speaks. An alarm is actionable when some feature moved by at least `min_effect` (D in [0, 1]).

    Raises:
        ValueError: the window has another number of features than the references.
    """
    if window.shape[1] != len(baseline.features):
        raise ValueError(
            f"the window has {window.shape[1]} features, the references {len(baseline.features)}"
        )
    judged = [(_arms(baseline, each), each) for each in distances(baseline.known, window)]
    arms, nearest = min(judged, key=lambda pair: max(arm.ratio for arm in pair[0]))
    alarm = any(arm.alarm for arm in arms)
    return Finding(
        nearest=nearest.name,
        mixture=_shares(baseline.known, nearest.weights),
        arms=arms,
        features=_most_drifted(baseline.features, nearest.ks),
        max_ks=nearest.max_ks,
        alarm=alarm,
        actionable=alarm and nearest.max_ks >= min_effect,
        calibrated=baseline.calibrated,
    )


def change_index(baseline: Baseline, samples: Floats, window: int) -> int:
    """Index of the first changed sample of (n, d) samples in order of arrival; the oldest are taken as unchanged."""
    before = mixture_weights(baseline.known, sort_columns(samples[:window]))
    return change_start(_blend(baseline.known, before), samples)


def _arms(baseline: Baseline, distance: Distance) -> tuple[ArmStatistic, ...]:
    """Against a mixture the largest threshold of its parts holds.

    What mixing adds to the spread of a window, the random number of events of each domain, is just what the fitted
    weights take out again; the rest is no wider than in the widest part.
    """
    parts = [
        thresholds
        for thresholds, share in zip(baseline.thresholds, distance.weights, strict=True)
        if share >= MIN_SHARE
    ]
    return (
        ArmStatistic(name="energy", statistic=distance.energy, threshold=max(part.energy for part in parts)),
        ArmStatistic(name="max_ks", statistic=distance.max_ks, threshold=max(part.max_ks for part in parts)),
    )


def _shares(known: KnownDomains, weights: Doubles) -> dict[str, float]:
    kept = np.where(weights >= MIN_SHARE, weights, 0.0)
    return {name: round(float(share), 4) for name, share in zip(known.names, kept / kept.sum(), strict=True)}


def _most_drifted(names: tuple[str, ...], ks: Doubles) -> tuple[FeatureDrift, ...]:
    largest = np.argsort(-ks, kind="stable")[:N_FEATURES]
    return tuple(FeatureDrift(name=names[i], ks=float(ks[i])) for i in largest)


def _blend(known: KnownDomains, weights: Doubles) -> Floats:
    """Rows whose domains have these shares: evenly spaced ones of each, as many as its share allows."""
    size = min(len(rows) for rows in known.rows)
    parts = [
        rows[np.linspace(0, len(rows) - 1, round(share * size)).astype(int)]
        for rows, share in zip(known.rows, weights, strict=True)
    ]
    return np.concatenate(parts)
