"""The report: Markdown with tables, and figures as SVG beside it, from whatever cells there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.adaptation.charts import interval_chart
from benchmarks.adaptation.goals import goals, most_forgotten
from benchmarks.adaptation.methods import AVALANCHE, METHODS
from benchmarks.adaptation.results import Chain, Order, Results
from benchmarks.adaptation.scores import (
    Doubles,
    Figure,
    at_last,
    average,
    backward_transfer,
    figure,
    forward_transfer,
    learning_accuracy,
    over_seeds,
    summarised,
)
from benchmarks.serving.machine import facts
from benchmarks.serving.markdown import facts_table, goals_table, table

NAME = "report.md"
MISSING = "missing-peer.txt"
ABOUT = """\
Text: the human-rated sentences of Hutto & Gilbert (ICWSM 2014) in four domains, split anew for every seed: whole
reviews and articles are in one part, retweets are one tweet. Version 1 learns the source, then every new domain brings
its labels; balanced accuracy in points. In brackets 95 % intervals: a bootstrap over seeds and, within a seed, over
the groups of its test sets (with five seeds it is on the narrow side). All methods continue the same LoRA and head by
the same loop; joint training starts from the base and sees all texts together, at least as many as version 1 and three
steps with replay see. Where a method replays, up to 2,000 exemplars of all domains together are chosen by the
product's memory (its default; the prototype had 300 a domain). The plan also uses selection labels, which the others
do without; nobody sees gate labels, and no version is gated.
"""
PROTOTYPE = """\
One seed, 700 test texts a domain (standard error about 1.5 points), before this was a product;
movie/tweets/amazon/nyt: source only 81.4/76.1/78.2/75.8; naive 74.8/92.8/84.6/85.4; DER++ 81.1/92.9/85.0/85.9; joint
81.0/91.8/82.9/82.5; head refit on the source's features 80.6/85.2/80.4/80.0; DER++ with 100 labels 77.9/88.0/83.3/84.6.
"""
MEASURES = ("most forgotten", "BWT", "FWT", "just learnt", "negative flips")
WORDS = """\
`most forgotten`: the largest of the domains' mean forgetting (Chaudhry). `BWT`, `FWT`: Lopez-Paz & Ranzato, FWT over
an untrained head's 50. `just learnt`: a new domain right after its labels. `negative flips`: texts of past domains
right before an update and wrong after. `CPU s`: median of one step on one thread, beside whatever else ran.
"""


def write_report(results: Results) -> str:
    """Writes report.md and its figures into the directory of the cells; returns the report."""
    study = results.study
    parts = [
        "# Adaptation: what is learnt, what is forgotten, what it costs\n",
        facts_table({**facts(), "sizes": _sizes(results), "seeds in": _seeds_in(results)}),
        ABOUT,
        "## Goals\n",
        "Goals are held against the values; the intervals say how sure that is.\n",
        goals_table(goals(results)),
    ]
    parts += _figures(results)
    for order in study.orders:
        parts += _after(results, order)
    parts += [*_left_out(results), *_matrices(results), *_chosen(results), "## The prototype\n", PROTOTYPE]
    report = "\n".join(parts)
    (results.cells.directory / NAME).write_text(report, encoding="utf-8")
    return report


def chains(results: Results, order: Order) -> dict[str, Chain]:
    """By title: joint training and every method that has at least one seed."""
    found = {"joint training": results.joint(order)}
    found |= {each.title: results.chain(each, order) for each in METHODS if not each.unlabelled_only}
    return {title: chain for title, chain in found.items() if chain is not None}


def _after(results: Results, order: Order) -> list[str]:
    """The table and the figure of one order."""
    source, found = results.sources(), chains(results, order)
    if source is None:
        return []
    domains = (results.study.source, *order)
    header = [
        "",
        *domains,
        "average",
        "most forgotten",
        "BWT",
        "FWT",
        "just learnt",
        "negative flips",
        "CPU s",
        "seeds",
    ]
    rows = [_source_row(source, order, results)]
    rows += [_row(title, chain, results) for title, chain in found.items()]
    return [f"## {results.study.source}, then {', '.join(order)}\n", table(header, rows), WORDS]


def _figures(results: Results) -> list[str]:
    """Average accuracy and forgetting of every method, both orders side by side."""
    titles = [each.title for each in METHODS if not each.unlabelled_only]
    orders = results.study.orders
    series, parts = [" > ".join(order) for order in orders], []
    for name, of, taken in (
        ("average balanced accuracy", _average_of, ("joint training", *titles)),
        ("most forgotten", most_forgotten, tuple(titles)),
    ):
        found = [chains(results, order) for order in orders]
        there = [title for title in taken if all(title in each for each in found)]
        rows = {title: [of(each[title]) for each in found] for title in there}
        if rows:
            file = f"{name.replace(' ', '-')}.svg"
            drawn = interval_chart(f"After the last domain: {name}", "points", rows, series)
            (results.cells.directory / file).write_text(drawn, encoding="utf-8")
            parts.append(f"![{name}]({file})\n")
    return parts


def _average_of(chain: Chain) -> Figure:
    return summarised(chain.matrices, average)


def _source_row(source: Chain, order: Order, results: Results) -> list[str]:
    names = (results.study.source, *results.study.orders[0])
    place = [names.index(name) for name in (results.study.source, *order)]
    cells = [summarised(source.matrices, at_last(i)).text() for i in place]
    return [
        "source only",
        *cells,
        summarised(source.matrices, average).text(),
        *["-"] * len(MEASURES),
        f"{np.median(source.cpu_s):.0f}",
        str(len(source.seeds)),
    ]


def _row(title: str, chain: Chain, results: Results) -> list[str]:
    domains = len(results.study.orders[0]) + 1
    cells = [summarised(chain.matrices, at_last(i)).text() for i in range(domains)]
    whole = chain.matrices[0].shape[1] == domains  # joint training is one step
    measures: tuple[Callable[[Doubles], Doubles], ...] = (
        backward_transfer,
        forward_transfer,
        learning_accuracy,
    )
    told = [summarised(chain.matrices, each).text() for each in measures] if whole else ["-"] * 3
    lost = figure(over_seeds(chain.flips)).text() if whole else "-"
    return [
        title,
        *cells,
        summarised(chain.matrices, average).text(),
        most_forgotten(chain).text() if whole else "-",
        *told,
        lost,
        f"{np.median(chain.cpu_s):.0f}",
        str(len(chain.seeds)),
    ]


def _left_out(results: Results) -> list[str]:
    """Why the peer is not in the tables, where it is not."""
    path, there = results.cells.directory / MISSING, results.chain(AVALANCHE, results.study.orders[0])
    return (
        [f"{AVALANCHE.title} is left out: {path.read_text(encoding='utf-8')}"]
        if path.exists() and not there
        else []
    )


def _matrices(results: Results) -> list[str]:
    """R of every method, means over the seeds."""
    parts = ["## Accuracy matrices\n", "Rows: after so many new domains; means over the seeds.\n"]
    for order in results.study.orders:
        for title, chain in chains(results, order).items():
            header = [f"{title}", *(results.study.source, *order)]
            found = over_seeds(chain.matrices)[0]
            names = ["source", *(f"+ {name}" for name in order)]
            labels = names if len(found) == len(names) else ["source", "all together"]
            rows = [
                [label, *(f"{100 * value:.1f}" for value in line)]
                for label, line in zip(labels, found, strict=True)
            ]
            parts.append(table(header, rows))
    return parts


def _chosen(results: Results) -> list[str]:
    """What the plan took, by domain and number of labels."""
    rows = []
    for method in METHODS:
        for order in results.study.orders:
            chain = results.chain(method, order)
            steps = zip(*chain.told, strict=True) if chain is not None else ()
            for name, told in zip(order, steps, strict=False):
                counts = Counter(str(each["chosen"]) for each in told if "rivals" in each)
                if counts:
                    said = ", ".join(f"{what} {n}" for what, n in counts.most_common())
                    rows.append([method.title, " > ".join(order), name, said])
    return (
        ["## What was chosen\n", table(["method", "order", "new domain", "chosen, runs"], rows)]
        if rows
        else []
    )


def _sizes(results: Results) -> str:
    domains = results.seeds[0].domains.values()
    return "; ".join(
        f"{each.name}: {len(each.train)} to train on, {len(each.selection)} to select, "
        f"{len(each.unlabelled)} unlabelled, {len(each.test)} to test"
        for each in domains
    )


def _seeds_in(results: Results) -> str:
    found: dict[str, int] = {}
    for method in METHODS:
        wanted: Sequence[Order] = results.study.orders[:1] if method.unlabelled_only else results.study.orders
        per_order = [results.chain(method, order) for order in wanted]
        found[method.title] = min(len(chain.seeds) if chain else 0 for chain in per_order)
    joint = results.joint(results.study.orders[0])
    found["joint training"] = len(joint.seeds) if joint else 0
    return ", ".join(f"{title} {n}" for title, n in found.items()) + f" of {results.n_seeds}"
