"""The report: Markdown with tables and one figure as SVG beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import binom

from benchmarks.drift.charts import line_chart
from benchmarks.gate.bad import BAD, Fate
from benchmarks.serving.markdown import Goal, goals_table, table
from trimtab.stats.sequential import lower_bound, upper_bound
from trimtab.stats.tango import power

NAME, FIGURE = "report.md", "promoted.svg"
GOOD = 0.85
MARGIN, ALPHA = 0.03, 0.05  # the settings' defaults
BAND = 0.999  # quantile of the binomial at a true rate of exactly 5 %

ABOUT = """\
`python -m benchmarks.gate` makes bad candidates for real and sends each down the real path, in a service of its own
(SQLite ledger, store, signed files): material, remedies or a fit of its own, evidence, gate, sealing, publication. A
candidate has *reached traffic* when it is champion and its files pass the checks of a replica. The change of accuracy
is measured on fresh rows that the service never saw.

The level and the power of the gate are measured on made-up correctness vectors with a known truth, because a true loss
of exactly three points cannot be trained. They go through the same `gate(evidence, settings)`.
"""

KINDS = {
    "flipped labels": "every label that is trained on is wrong, those that judge are right",
    "wrong base": "trained on other weights; every second one is passed off as made on the right ones",
    "NaN": "one weight not finite after the merge",
    "tampered file": "weights exchanged before signing, every second one in the store after publication",
    "overfit": "40 rows with labels dealt out at random, learnt by heart without replay",
    "one-client poison": "one client of several sends half of the labels, all wrong, those that judge too",
    "5 points forgotten": "gains on the new domain, loses 5 points of the past one (measured on fresh rows)",
}

LIMITS = """\
What no gate can see: labels that are wrong everywhere, in what is trained on and in what judges, sent by everybody or
by the only client, on a domain of which the champion knows little. Who is the only one to label decides what is true.
"""


ABOUT_CELLS = """\
`margin`: true forgetting of exactly three points, the paired tests alone; `exact` sums the probability of every table
that Tango's test passes, without the gain test. `good`: nothing forgotten, five points gained, one past domain, every
check of the gate. `curve`: five points gained and so many forgotten.
"""


@dataclass(frozen=True)
class Simulated:
    """A cell of the simulation: what it was, and how often the candidate was promoted."""

    what: str
    n: int
    discordance: float
    loss: float
    draws: int
    promoted: int

    @property
    def share(self) -> float:
        return self.promoted / self.draws

    @property
    def interval(self) -> str:
        """95 %, Clopper and Pearson."""
        low, high = (bound(self.promoted, self.draws, 0.975) for bound in (lower_bound, upper_bound))
        return f"{self.share:.3f} [{low:.3f}, {high:.3f}]"


def write_report(
    directory: Path, fates: Sequence[Fate], cells: Sequence[Simulated], about: Mapping[str, Any]
) -> None:
    """Writes report.md and its figure from whatever there is."""
    curve = [cell for cell in cells if cell.what == "curve"]
    if curve:
        (directory / FIGURE).write_text(_figure(curve), encoding="utf-8")
    parts = [
        "# What the gate lets pass\n",
        ABOUT,
        table(["", ""], list(about.items())),
        "## Goals\n",
        goals_table(goals(fates, cells)),
        "## Bad candidates\n",
        _kinds(fates),
        LIMITS,
        "## Made-up correctness\n",
        ABOUT_CELLS,
        _cells([cell for cell in cells if cell.what != "curve"]),
        f"![promoted by true forgetting]({FIGURE})\n" if curve else "",
    ]
    (directory / NAME).write_text("\n".join(parts), encoding="utf-8")


def goals(fates: Sequence[Fate], cells: Sequence[Simulated]) -> list[Goal]:
    """What the issue asked for, against what was found."""
    bad = [fate for fate in fates if fate.kind in BAD]
    reached = sum(fate.reached for fate in bad)
    found = []
    if bad:
        bound = upper_bound(reached, len(bad), 0.95)
        measured = f"{reached} of {len(bad)}; with 95 % confidence below {bound:.3f} of such candidates"
        found.append(Goal("bad candidates that reach traffic", "0 of 100", measured, reached == 0))
    for cell in cells:
        where = f"n = {cell.n:,}, discordance {cell.discordance:.0%}"
        if cell.what == "margin":
            allowed = int(binom.ppf(BAND, cell.draws, 0.05))
            bound_said = f"<= 5 % (at most {allowed} of {cell.draws})"
            found.append(
                Goal(f"promoted at the margin, {where}", bound_said, cell.interval, cell.promoted <= allowed)
            )
        elif cell.what == "good" and cell.n == 1000:
            found.append(
                Goal(f"good candidates promoted, {where}", ">= 85 %", cell.interval, cell.share >= GOOD)
            )
    return found


def _kinds(fates: Sequence[Fate]) -> str:
    rows = []
    for kind in (*BAD, "good"):
        mine = [fate for fate in fates if fate.kind == kind]
        if mine:
            outcomes = Counter(fate.outcome for fate in mine)
            stopped = Counter(name for fate in mine for name in fate.stopped_by)
            said = ", ".join(f"{n} {name}" for name, n in outcomes.most_common())
            by = ", ".join(f"{name} {n}" for name, n in stopped.most_common(5))
            changes = f"{_median(fate.past for fate in mine)}, {_median(fate.new for fate in mine)}"
            rows.append(
                (
                    kind,
                    KINDS.get(kind, "the recipe on honest labels"),
                    len(mine),
                    sum(f.reached for f in mine),
                    said,
                    by,
                    changes,
                )
            )
    header = [
        "kind",
        "how",
        "n",
        "reached traffic",
        "outcome",
        "checks not passed",
        "median change, past and new",
    ]
    return table(header, rows)


def _median(values: Any) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):+.3f}" if known else "-"


def _cells(cells: Sequence[Simulated]) -> str:
    rows = [
        (
            cell.what,
            f"{cell.n:,}",
            f"{cell.discordance:.0%}",
            f"{cell.loss:+.3f}",
            cell.draws,
            cell.interval,
            f"{power(cell.n, cell.discordance, MARGIN, ALPHA, cell.loss):.4f}",
        )
        for cell in cells
    ]
    return table(
        ["what", "n", "discordance", "true loss", "draws", "promoted (95 % interval)", "exact"], rows
    )


def _figure(curve: Sequence[Simulated]) -> str:
    lines: dict[str, list[tuple[float, float]]] = {}
    for cell in curve:
        lines.setdefault(f"n = {cell.n:,}", []).append((100 * cell.loss, cell.share))
    return line_chart("Promoted, by what is truly forgotten", "points forgotten", "share promoted", lines)
