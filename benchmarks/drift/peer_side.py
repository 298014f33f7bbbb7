"""The peers' side of the comparison, run by the python of a peer's own environment: numpy and that peer only.

    python peer_side.py NAME DIRECTORY

Serves until its input ends. Each line in is JSON {"act": ..., ...}, each line out is the answer. Arrays travel as
files of DIRECTORY. CPU seconds are `time.process_time` of this process, around the peer's own call.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

Check = Callable[[Any], bool]


def alibi_check(reference: Any) -> Check:
    """`KSDrift` as its documentation shows it: Bonferroni at 0.05."""
    detector = importlib.import_module("alibi_detect.cd").KSDrift(reference, p_val=0.05)
    return lambda window: bool(detector.predict(window)["data"]["is_drift"])


def evidently_check(reference: Any) -> Check:
    """`DataDriftPreset` over all columns, its result asked for."""
    pandas = importlib.import_module("pandas")
    evidently = importlib.import_module("evidently")
    preset = importlib.import_module("evidently.presets").DataDriftPreset
    names = [f"f{i}" for i in range(reference.shape[1])]
    schema = evidently.DataDefinition(numerical_columns=names)

    def as_dataset(rows: Any) -> Any:
        return evidently.Dataset.from_pandas(pandas.DataFrame(rows, columns=names), data_definition=schema)

    known = as_dataset(reference)

    def check(window: Any) -> bool:
        found = evidently.Report([preset()]).run(as_dataset(window), known).dict()
        drifted = found["metrics"][0]["value"]["share"]
        return bool(drifted > 0.5)

    return check


def river_first(name: str, warm: Any, stream: Any) -> int | None:
    """Events of the (t, d) stream until ADWIN or KSWIN, one a column with its defaults, first reports a change."""
    kind = getattr(importlib.import_module("river.drift"), name)
    options = {"seed": 0} if name == "KSWIN" else {}
    detectors = [kind(**options) for _ in range(stream.shape[1])]
    for row in warm:
        for detector, value in zip(detectors, row, strict=True):
            detector.update(float(value))
    for number, row in enumerate(stream, 1):
        for detector, value in zip(detectors, row, strict=True):
            detector.update(float(value))
        if any(detector.drift_detected for detector in detectors):
            return number
    return None


def river_cost(name: str, rows: Any) -> float:
    """CPU seconds an event and feature."""
    kind = getattr(importlib.import_module("river.drift"), name)
    values = [float(value) for value in rows[:, 0]]
    detector = kind()
    started = time.process_time()
    for value in values:
        detector.update(value)
    return (time.process_time() - started) / len(values)


def serve(name: str, directory: Path, lines: Iterable[str], out: TextIO) -> None:
    """Answers requests; see the module's docstring."""
    checks: dict[str, Callable[[Any], Check]] = {"alibi-detect": alibi_check, "evidently": evidently_check}
    check: Check | None = None
    for line in lines:
        asked = json.loads(line)
        arrays = dict(np.load(directory / asked["file"])) if "file" in asked else {}
        match asked["act"]:
            case "reference":
                check = checks[name](arrays["reference"])
                answer: Any = importlib.import_module("importlib.metadata").version(name)
            case "check":
                assert check is not None
                started = time.process_time()
                alarm = check(arrays["window"])
                answer = {"cpu_s": time.process_time() - started, "alarm": alarm}
            case "first":
                answer = river_first(asked["detector"], arrays["warm"], arrays["stream"])
            case _:
                answer = river_cost(asked["detector"], arrays["rows"])
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    answers, sys.stdout = sys.stdout, sys.stderr  # what a peer prints is no answer
    serve(sys.argv[1], Path(sys.argv[2]), sys.stdin, answers)
