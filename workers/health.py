"""How the champion stands on a window, as labels that were drawn at random say: plain numbers, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

SAME_CLASSES = 0.1  # total variation of the predicted classes up to which the answers are as before
SAME_CONFIDENCE = 0.05  # difference of the mean confidence up to which they are
SLACK = 0.02  # mean confidence beside accuracy, up to which a version is calibrated


@dataclass(frozen=True, kw_only=True)
class Health:
    """How the champion stands on a window.

    Attributes:
        like: The reference domain that its answers resemble most.
        shares_moved: Total variation of the predicted classes.
        confidence_moved: Mean largest probability, window minus reference: what Guillory et al. (ICCV 2021, arXiv
            2107.03315, "difference of confidences") estimate a change of the accuracy by.
        n, accuracy: Labelled rows of the window.
        n_reference, reference_accuracy: Labelled rows of that reference.
        tolerance: Loss of accuracy that does not matter.
        bound: One-sided upper bound of the loss; power: how often it is below the tolerance when nothing is lost.
        surplus, surplus_error: Mean confidence minus accuracy on the window, with its standard error.
        alpha: Level of the bounds.
    """

    like: str
    shares_moved: float
    confidence_moved: float
    n: int
    accuracy: float
    n_reference: int
    reference_accuracy: float
    tolerance: float
    bound: float
    power: float
    surplus: float
    surplus_error: float
    alpha: float

    @property
    def loss(self) -> float:
        return self.reference_accuracy - self.accuracy

    @property
    def harmless(self) -> bool:
        """The labels exclude a loss of the tolerance."""
        return self.bound < self.tolerance

    @property
    def unmoved(self) -> bool:
        """Classes and confidence of the answers are as before."""
        same = abs(self.confidence_moved) <= SAME_CONFIDENCE
        return same and self.shares_moved <= SAME_CLASSES

    @property
    def miscalibrated(self) -> bool:
        """The labels show that the answers are surer, or less sure, than they are right."""
        z = NormalDist().inv_cdf(1.0 - self.alpha / 2)
        return abs(self.surplus) - z * self.surplus_error > SLACK

    @property
    def words(self) -> str:
        return (
            f"accuracy {self.accuracy:.3f} on {self.n} labels, {self.reference_accuracy:.3f} on {self.like!r}: "
            f"the loss is at most {self.bound:+.3f} ({self.tolerance:.3f} is tolerated; power {self.power:.2f}); "
            f"classes moved by {self.shares_moved:.3f}, confidence by {self.confidence_moved:+.3f}; "
            f"{self.surplus:+.3f} too sure"
        )
