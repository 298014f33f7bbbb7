"""How a version does after it came to serve, against what the gate promised: plain data of the monitor's state."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Where the watch of a version stands.

    Attributes:
        version: The version on probation.
        n_events, of_events: Predictions that it has answered, and after how many the watch ends.
        n_labels: Of them labelled, requests that were not drawn at random left out.
        accuracy: On those; None without any.
        promised: The accuracy below which the promise is broken; None without enough labelled reference rows.
        statistic, threshold: log10 of the largest e-value so far, and of 1 / alpha.
        until_seq: Sample at which inputs drifted away: labels from there on say nothing about the promise. 0: none did.
        n_looks: Times that the outputs were held against the reference.
        broken: Why the version is stepped back from; empty while it keeps the promise.
    """

    version: int
    n_events: int = 0
    of_events: int = 0
    n_labels: int = 0
    accuracy: float | None = None
    promised: float | None = None
    statistic: float = 0.0
    threshold: float = 0.0
    until_seq: int = 0
    n_looks: int = 0
    broken: str = ""
