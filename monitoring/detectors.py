"""The detectors of the models in use: each follows its version's samples through the ledger, block by block.

What they took is lost with the process and nothing with it: the newest rows are in the ledger, the rest of the state
in `MonitorState`, saved in the same transaction as what followed from it.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from monitoring.check import Baseline
from monitoring.detector import Detector, Windows
from monitoring.e_detector import N_BETS, start
from monitoring.histograms import Doubles
from trimtab.drift import MonitorState
from trimtab.ledger.tombstones import last_burial
from trimtab.ledger.windows import PredictionWindow, newest_rows


@dataclass
class Following:
    """A detector, and where in the ledger it stands.

    Attributes:
        version: The version it follows.
        detector: Its statistics.
        at_seq: Newest sample taken.
        forgot_at: When samples were last forgotten on demand, as far as it knows: later it is made again without them.
        starts: First sequence number of each block that it holds, oldest first.
    """

    version: int
    detector: Detector
    at_seq: int
    forgot_at: float
    starts: deque[int]

    def take(self, block: PredictionWindow) -> None:
        """Take one complete block that follows what was taken."""
        self.detector.take(block.features)
        self.starts.append(int(block.seqs[0]))
        self.at_seq = int(block.seqs[-1])

    def first_seq(self, n_blocks: int) -> int:
        """First sample of the newest blocks."""
        return self.starts[-n_blocks]

    @property
    def log_m(self) -> tuple[float, ...]:
        """What `MonitorState.log_m` keeps; nothing before the first block."""
        flat = self.detector.log_m.ravel()
        return tuple(flat.tolist()) if np.isfinite(flat).all() else ()


class Detectors:
    """One detector a model, in memory; made again from ledger and state when the two do not agree with it."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self._held: dict[str, Following] = {}

    def of(self, tx: Connection, state: MonitorState, baseline: Baseline) -> Following:
        """The detector that has taken exactly what the state says."""
        held, forgot_at = self._held.get(state.model), last_burial(tx)
        wanted = (baseline.version, position(state), forgot_at)
        if held is None or (held.version, held.at_seq, held.forgot_at) != wanted:
            held = self._held[state.model] = self._restored(tx, state, baseline, forgot_at)
        return held

    def _restored(
        self, tx: Connection, state: MonitorState, baseline: Baseline, forgot_at: float
    ) -> Following:
        block, known = self.windows.block, baseline.known
        rows = newest_rows(
            tx,
            state.model,
            baseline.version,
            self.windows.long,
            known.n_features,
            after_seq=state.after_seq,
            until_seq=position(state),
        )
        rows = rows.cut(len(rows) % block, len(rows))
        detector = Detector.restore(known, self.windows, rows.features, _log_m(state, known.n_features))
        starts = deque(rows.seqs[::block].tolist(), maxlen=self.windows.long // block)
        return Following(baseline.version, detector, position(state), forgot_at, starts)


def position(state: MonitorState) -> int:
    """Newest sample that the state's statistics have taken in, or that they shall never take in."""
    return max(state.consumed_seq, state.after_seq)


def _log_m(state: MonitorState, n_features: int) -> Doubles:
    """Of the state; a state without one, or of other features, begins anew."""
    if len(state.log_m) != n_features * N_BETS:
        return start(n_features)
    return np.array(state.log_m, dtype=np.float64).reshape(n_features, N_BETS)
