"""The gate: does the candidate deserve to serve? Statistical tests on examples that were never trained on.

Any check that fails rejects; otherwise any check that needs more data holds; otherwise the candidate is promoted.
Non-inferiority on every past domain needs no correction for their number: all must pass (intersection-union).
"""

from workers.gate.evidence import Evidence, Paired, Rows
from workers.gate.judge import gate
from workers.gate.paired import lowest_loss
from workers.gate.verdict import Check, Decision, Result, Verdict

__all__ = ["Check", "Decision", "Evidence", "Paired", "Result", "Rows", "Verdict", "gate", "lowest_loss"]
