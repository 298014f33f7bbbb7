"""Is what was trained on fit to be trained on? Labels that contradict, clients that dominate, copies, classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import fisher_exact

from trimtab.settings import GateSettings
from trimtab.stats.sequential import lower_bound
from workers.gate.verdict import Check, Result
from workers.poisoning import SEVERAL, DataReport

MAX_CONTRADICTIONS = 0.3  # share of one client's labels, beside other clients
MIN_ROWS = 20  # of a client, to be judged
IGNORANCE = 0.7  # share of its right answers by chance that a champion has at least, whatever the domain
MAX_DUPLICATES = 0.1
MAX_CLASS_DISTANCE = 0.4
ROUNDING = 1.0  # rows by which a share may be above its limit


def data_checks(data: DataReport, settings: GateSettings) -> tuple[Check, ...]:
    """The checks of the training rows: flipped labels reject, whatever else is wrong waits for a person or labels."""
    checks = (labels(data, settings.alpha), clients(data, settings.max_client_share), duplicates(data))
    return checks if data.class_distance is None else (*checks, classes(data.n, data.class_distance))


def labels(data: DataReport, alpha: float) -> Check:
    """Whether labels are flipped: they contradict the champion more often than ignorance would.

    Only rows on which the champion is surer than usual are compared. Ignorance: a champion that knows nothing of a
    domain is right by chance, 1/k of the time; 0.7/k is safely below. One client among others is refused. Where most
    of three or more do it, what the labels mean has changed. Where nobody says otherwise, nobody can tell: who is the
    only one to label decides what is true, and past domains are guarded by their gate sets. One client that contradicts
    more than 30 % of the time, and more than the others, waits for a person.
    """
    judged = _judged(data)
    flipped, odd = _contrary(data, alpha)
    limit = 1.0 - IGNORANCE / data.n_labels
    result, word = Result.PASS, ""
    if flipped and not (len(judged) >= SEVERAL and 2 * len(flipped) > len(judged)):
        alone = sum(n for client, n in _rows(data).items() if client not in flipped) < MIN_ROWS
        result = Result.PASS if alone else Result.FAIL
        word = (
            "nobody says otherwise: their meaning changed, or they are flipped"
            if alone
            else "they are flipped"
        )
    elif odd and not flipped:
        result, limit, word = (
            Result.INSUFFICIENT,
            MAX_CONTRADICTIONS,
            "unlike those of others: a person should look",
        )
    worst = max(flipped or odd or judged, key=lambda client: _share(data, client), default="")
    share = _share(data, worst) if worst else 0.0
    said = (
        f"{share:.3f} of the labels of {worst!r} contradict the champion" if worst else "no client of 20 rows"
    )
    detail = f"{said}; {word}" if word else said
    return Check(name="data:labels", result=result, value=share, limit=limit, n=data.n, detail=detail)


def clients(data: DataReport, max_share: float) -> Check:
    """Of three clients or more, none may have more than its share of what is learnt from."""
    n_clients = len(data.clients)
    limit = max(max_share, 1.0 / n_clients) if n_clients >= SEVERAL else 1.0
    most, client = max(((n, each) for each, n in data.clients.items()), default=(0, ""))
    result = Result.INSUFFICIENT if most > limit * data.n + ROUNDING else Result.PASS
    detail = (
        f"{most} of {data.n} rows are of {client!r}, one of {n_clients} clients; {data.capped} were left out"
    )
    if result is Result.INSUFFICIENT:
        detail += "; labels of others are needed (or TRIMTAB_GATE__MAX_CLIENT_SHARE, where one may dominate)"
    return Check(
        name="data:clients",
        result=result,
        value=most / data.n if data.n else 0.0,
        limit=limit,
        n=data.n,
        detail=detail,
    )


def duplicates(data: DataReport) -> Check:
    """At most 10 % of the rows repeat the words of another one."""
    share = data.duplicates / data.n if data.n else 0.0
    return Check(
        name="data:duplicates",
        result=Result.INSUFFICIENT if share > MAX_DUPLICATES else Result.PASS,
        value=share,
        limit=MAX_DUPLICATES,
        n=data.n,
        detail=f"{data.duplicates} of {data.n} rows repeat another; {data.copies} were left out",
    )


def classes(n: int, distance: float) -> Check:
    """The labels' classes are those of the traffic, within a total variation of 0.4."""
    return Check(
        name="data:classes",
        result=Result.INSUFFICIENT if distance > MAX_CLASS_DISTANCE else Result.PASS,
        value=distance,
        limit=MAX_CLASS_DISTANCE,
        n=n,
        detail=f"the labels' classes are {distance:.3f} away from what the champion answers to the window",
    )


def suspects(data: DataReport | None, alpha: float) -> frozenset[str]:
    """Clients whose labels the check of labels does not pass, of whatever part of the split they are."""
    if data is None or labels(data, alpha).result is Result.PASS:
        return frozenset()
    flipped, odd = _contrary(data, alpha)
    return frozenset((*flipped, *odd))


def _judged(data: DataReport) -> list[str]:
    """Clients with rows enough."""
    return [client for client, n in sorted(_rows(data).items()) if n >= MIN_ROWS]


def _contrary(data: DataReport, alpha: float) -> tuple[list[str], list[str]]:
    """Clients that contradict more often than ignorance would, and those that do so more than the others."""
    judged, limit = _judged(data), 1.0 - IGNORANCE / data.n_labels
    level = alpha / max(len(judged), 1)
    flipped = [client for client in judged if _surely(data, client, level) > limit]
    return flipped, [client for client in judged if _stands_out(data, client, level)]


def _rows(data: DataReport) -> Mapping[str, int]:
    """Compared rows by client."""
    return data.clients if data.judged is None else data.judged


def _share(data: DataReport, client: str) -> float:
    return data.contradictions.get(client, 0) / _rows(data)[client]


def _surely(data: DataReport, client: str, alpha: float) -> float:
    """Lower confidence bound of the share of a client's labels that contradict."""
    return lower_bound(data.contradictions.get(client, 0), _rows(data)[client], 1.0 - alpha)


def _stands_out(data: DataReport, client: str, alpha: float) -> bool:
    """Whether the client's labels contradict more than 30 % of the time, and more often than those of the others."""
    n, wrong = _rows(data)[client], data.contradictions.get(client, 0)
    others = sum(_rows(data).values()) - n, sum(data.contradictions.values()) - wrong
    if not others[0] or _surely(data, client, alpha) <= MAX_CONTRADICTIONS:
        return False
    table = np.array([[wrong, n - wrong], [others[1], others[0] - others[1]]])
    return float(fisher_exact(table, alternative="greater").pvalue) < alpha
