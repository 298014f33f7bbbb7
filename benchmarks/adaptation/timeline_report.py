"""Where the time from an alert to the version that serves goes: spans from the ledger, a table and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.serving.markdown import facts_table, table
from trimtab.jobs import AdaptationJob
from workers.progress import stages_of

WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 760, 230, 70, 40, 20, 30
OURS, THEIRS = "#1b6ca8", "#b8860b"
WORDS = {
    "reading": "material and plan",
    "training": "LoRA: the fit and smaller steps",
    "contest": "rivals compared on the selection labels",
    "references": "references scored by the candidate",
    "gate": "evidence and gate",
    "publishing": "sealed, delivered, read back, promoted",
}
ABOUT = """\
One run of the real thing: `trimtab up` (API, worker, monitor, Valkey), MiniLM, movies, then
tweets.
Wall times are the ledger's own: the report, the job, the stages that the trainer notes; processor times are the
trainer's. Labels come at once when the job asks for them: people are slower, so the total is told without them, too.
"""


@dataclass(frozen=True)
class Span:
    """A stretch of time: seconds since the alert, and processor seconds where they are known."""

    name: str
    began_s: float
    ended_s: float
    cpu_s: float | None = None
    waits: bool = False  # for people

    @property
    def wall_s(self) -> float:
        return self.ended_s - self.began_s


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What the ledger does not say, in epoch seconds: alert, the last label, the first answer by the new version."""

    alert_at: float
    labels_at: float
    served_at: float


def spans_of(job: AdaptationJob, moments: Moments) -> tuple[Span, ...]:
    """From the alert to the first answer, one after the other; nothing lies between two spans.

    Raises ValueError for a job that was not promoted, or whose stages are not known.
    """
    stages = stages_of(job)
    if job.finished_at is None or job.started_at is None or not stages:
        raise ValueError(f"job {job.id} is {job.status}, with {len(stages)} stages")
    marks = [
        ("alert: the job is opened", job.created_at, None),
        ("labels are asked for and given", moments.labels_at, None),
        ("labels counted, job queued and claimed", job.started_at, None),
        ("trainer starts", stages[0].began_at, None),
        *((WORDS.get(each.name, f"rival: {each.name}"), each.ended_at, each.cpu_s) for each in stages),
        ("served: the first answer", moments.served_at, None),
    ]
    spans, began_at = [], moments.alert_at
    for name, ended_at, cpu_s in marks:
        bounds = (began_at - moments.alert_at, ended_at - moments.alert_at)
        spans.append(Span(name, *bounds, cpu_s, waits=name.startswith("labels are asked")))
        began_at = ended_at
    return tuple(spans)


def without_people(spans: Sequence[Span]) -> float:
    """Seconds from the alert to the answer, less the time in which labels were given."""
    return sum(span.wall_s for span in spans if not span.waits)


def report(spans: Sequence[Span], facts: Mapping[str, str], processes: Mapping[str, float]) -> str:
    """Markdown: totals, a row a stage, the processor time of every process, and what it depends on."""
    rows = [(span.name, f"{span.wall_s:.1f}", _cpu(span.cpu_s)) for span in spans]
    rows.append(("**alert to first answer**", f"**{spans[-1].ended_s:.1f}**", ""))
    rows.append(("**the same without people**", f"**{without_people(spans):.1f}**", ""))
    used = [(name, f"{seconds:.1f}") for name, seconds in processes.items()]
    parts = [
        "# From alert to promoted version\n", ABOUT, table(["stage", "wall s", "CPU s"], rows),
        "![stages](timeline.svg)\n", "CPU seconds of the processes from the first tweet to the first answer:\n",
        table(["process", "CPU s"], used), facts_table(facts),
    ]  # fmt: skip
    return "\n".join(parts)


def _cpu(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


def chart(spans: Sequence[Span]) -> str:
    """An SVG: a bar a stage, where it begins and ends."""
    height, scale = TOP + ROW * len(spans) + BOTTOM, (WIDTH - LEFT - RIGHT) / max(spans[-1].ended_s, 1e-9)
    parts = [_text(10, 20, "From alert to first answer, seconds", "font-weight='bold'")]
    for number, span in enumerate(spans):
        x, y, width = LEFT + scale * span.began_s, TOP + ROW * number, max(scale * span.wall_s, 1.0)
        colour = THEIRS if span.waits else OURS
        bar = f"<rect x='{x:.1f}' y='{y + 3}' width='{width:.1f}' height='{ROW - 6}' fill='{colour}'/>"
        name = _text(LEFT - 8, y + 14, span.name, "text-anchor='end'")
        parts += [name, bar, _text(x + width + 4, y + 14, f"{span.wall_s:.1f}", "")]
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' font-family='sans-serif'"
    return f"{head} font-size='10'><rect width='100%' height='100%' fill='white'/>{''.join(parts)}</svg>\n"


def _text(x: float, y: float, text: str, more: str) -> str:
    return f"<text x='{x:.1f}' y='{y}' {more}>{escape(text)}</text>"
