"""Labels travel by file: JSON Lines, CSV, Label Studio's JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.calls import Outcome, Trimtab
from tests.fixtures.ledgers import LABELS, block, filled_model, sample
from trimtab.jobs import JobStatus
from trimtab.ledger import Ledger, feedback, jobs, label_requests, samples
from trimtab.ledger.label_requests import Labeller, NewRequest, Reason

N = 6


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    made.migrate()
    with made.begin() as tx:
        filled_model(tx)
        samples.ingest(tx, [block("b", [sample(1, text="=1+1"), *(sample(i) for i in range(2, N + 1))])])
    yield made
    made.close()


@pytest.fixture
def call(trimtab: Trimtab, tmp_path: Path, ledger: Ledger) -> Trimtab:
    def at_home(*arguments: object) -> Outcome:
        return trimtab("--home", tmp_path, *arguments)

    return at_home


@pytest.fixture
def asked(ledger: Ledger) -> list[str]:
    """A waiting job asks for p1 to p4; the ids of its requests, by prediction."""
    with ledger.begin() as tx:
        job = jobs.open_job(
            tx, "sentiment", cause={}, domain="", window_from_seq=1, status=JobStatus.WAITING_FOR_LABELS
        )
        new = [NewRequest(seq=seq, key=str(seq), part="train", reason=Reason.RANDOM) for seq in range(1, 5)]
        label_requests.ask(tx, "sentiment", job.id, new, expires_at=4e9)
        found = label_requests.lease_requests(tx, "sentiment", Labeller("x"), limit=9, lease_s=0.0)
    return [request.id for request in sorted(found, key=lambda each: each.seq)]


def exported(call: Trimtab, *options: object) -> str:
    outcome = call("labels", "export", "sentiment", *options)
    assert outcome.code == 0, outcome.err
    return outcome.out


def lines(content: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def labels_of(ledger: Ledger) -> dict[str, str]:
    with ledger.read() as tx:
        return {row.prediction_id: row.label for row in feedback.labelled(tx, "sentiment")}


def brought(call: Trimtab, file: Path, content: str) -> Outcome:
    file.write_text(content, encoding="utf-8")
    return call("labels", "import", file)


def test_predictions_go_out_and_labels_come_back(call: Trimtab, ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    assert exported(call, "--out", file) == ""
    rows = lines(file.read_text())
    assert rows[1] == {"prediction_id": "p2", "text": "text number 2", "label": None}
    answers = "\n".join(json.dumps(row | {"label": LABELS[0]}) for row in rows)
    assert brought(call, file, answers).out.startswith(f"{N} accepted ({N} joined")
    assert labels_of(ledger) == {f"p{i}": LABELS[0] for i in range(1, N + 1)}
    assert exported(call) == ""  # all have labels now
    assert f"{N} known already, 0 rejected" in call("labels", "import", file).out


def test_what_a_job_asks_for_goes_first_and_is_held(
    call: Trimtab, ledger: Ledger, tmp_path: Path, asked: list[str]
) -> None:
    rows = lines(exported(call, "--limit", 3))
    assert {row["request_id"] for row in rows} < set(asked)
    with ledger.begin() as tx:
        left = label_requests.lease_requests(tx, "sentiment", Labeller("ann"), limit=9, lease_s=0.0)
    assert {request.id for request in left} == set(asked) - {row["request_id"] for row in rows}
    rows[0] |= {"label": "neg", "annotator": "ann"}
    rows[1] |= {"label": "pos"}
    said = brought(call, tmp_path / "back.jsonl", "\n".join(map(json.dumps, rows)))
    assert (said.code, said.out[:10]) == (0, "2 accepted")
    assert "2 requests answered" in said.out
    assert labels_of(ledger) == {rows[0]["prediction_id"]: "neg", rows[1]["prediction_id"]: "pos"}


def test_a_table_goes_out_safe_for_a_spreadsheet_and_comes_back_half_done(
    call: Trimtab, ledger: Ledger, tmp_path: Path
) -> None:
    rows = list(csv.DictReader(io.StringIO(exported(call, "--format", "csv"))))
    assert [row["text"] for row in rows][:2] == ["'=1+1", "text number 2"]
    rows[0]["label"], rows[2]["label"] = "neg", "pos"
    content = io.StringIO()
    writer = csv.DictWriter(content, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    assert brought(call, tmp_path / "back.csv", "\ufeff" + content.getvalue()).code == 0
    assert labels_of(ledger) == {"p1": "neg", "p3": "pos"}


def test_a_round_trip_through_label_studio(
    call: Trimtab, ledger: Ledger, tmp_path: Path, asked: list[str]
) -> None:
    tasks = json.loads(exported(call, "--format", "label-studio"))
    assert {task["data"]["request_id"] for task in tasks} == set(asked)
    tasks[0]["annotations"] = [annotation("neg")]
    tasks[1]["annotations"] = [annotation("pos") | {"was_cancelled": True}]
    tasks[2]["annotations"] = []
    assert brought(call, tmp_path / "project-1.json", json.dumps(tasks)).out.startswith("1 accepted")
    assert labels_of(ledger) == {tasks[0]["data"]["prediction_id"]: "neg"}
    tasks[3]["annotations"] = [annotation("pos", "neg")]
    refused = brought(call, tmp_path / "project-1.json", json.dumps(tasks))
    assert (refused.code, "task 4: 2 choices" in refused.err) == (2, True)


def annotation(*choices: str) -> dict[str, Any]:
    result = {"type": "choices", "from_name": "label", "value": {"choices": list(choices)}}
    return {"id": 1, "completed_by": 7, "result": [result], "was_cancelled": False}


def test_without_requests_label_studio_gets_nothing(call: Trimtab) -> None:
    outcome = call("labels", "export", "sentiment", "--format", "label-studio")
    assert (outcome.code, "no open label requests" in outcome.err) == (2, True)
    assert "use one of native, csv" in call("labels", "export", "sentiment", "--format", "xml").err


def test_a_request_that_is_gone_is_answered_by_its_prediction(
    call: Trimtab, ledger: Ledger, tmp_path: Path, asked: list[str]
) -> None:
    with ledger.begin() as tx:
        label_requests.answer(tx, asked[1], "pos", Labeller("bob"))
    said = [
        {"request_id": "0" * 32, "prediction_id": "p6", "label": "neg"},
        {"request_id": "0" * 32, "label": "neg"},
        {"request_id": asked[0], "label": "neither"},
        {"request_id": asked[1], "label": "neg"},
        {"prediction_id": "p5", "label": "neither"},
    ]
    outcome = brought(call, tmp_path / "back.jsonl", "\n".join(map(json.dumps, said)))
    assert outcome.code == 1
    assert outcome.out.startswith("1 accepted (1 joined")
    assert "4 rejected" in outcome.out
    for told in ("no such label request", "unknown label 'neither'", "answered", "p5: unknown label"):
        assert told in outcome.out
    assert labels_of(ledger) == {"p2": "pos", "p6": "neg"}


@pytest.mark.parametrize(
    ("name", "second", "reason"),
    [
        ("a.jsonl", "{", "line 2: not valid JSON"),
        ("a.jsonl", "[]", "line 2: Input should be a valid dictionary"),
        ("a.jsonl", '{"prediction_id": "p1"}', "line 2: label: Field required"),
        ("a.jsonl", '{"label": "pos"}', "line 2: Value error, prediction_id and request_id are both missing"),
        ("a.jsonl", '{"prediction_id": "p1", "label": "pos", "observed_at": "soon"}', "line 2: observed_at"),
        ("a.jsonl", '{"prediction_id": 7, "label": "pos"}', "line 2: prediction_id"),
        ("a.csv", ",pos", "line 3: Value error, prediction_id and request_id are both missing"),
        ("a.json", "", "task 2: not a task as Label Studio exports it"),
    ],
)
def test_bad_files_are_told_with_the_line_and_change_nothing(
    call: Trimtab, ledger: Ledger, tmp_path: Path, name: str, second: str, reason: str
) -> None:
    first = '{"prediction_id": "p1", "label": "pos"}'
    content = {
        "a.jsonl": f"{first}\n{second}\n",
        "a.csv": f"prediction_id,label\np1,pos\n{second}\n",
        "a.json": json.dumps([{"data": {"prediction_id": "p1"}, "annotations": [annotation("pos")]}, 7]),
    }[name]
    outcome = brought(call, tmp_path / name, content)
    assert outcome.code == 2
    assert f"{tmp_path / name}, {reason}" in outcome.err
    assert labels_of(ledger) == {}


def test_files_that_cannot_be_read(call: Trimtab, tmp_path: Path) -> None:
    csv.field_size_limit(131_072)  # Python's own; libraries of the benchmarks lift it for the whole process
    assert call("labels", "import", tmp_path / "absent").code == 2
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"\xff\n")
    assert "not valid UTF-8" in call("labels", "import", file).err
    huge = f'prediction_id,label\n"{"x" * 200_000}",pos\n'
    assert "not valid CSV" in brought(call, tmp_path / "huge.csv", huge).err


def test_a_new_class_is_declared_once(call: Trimtab, ledger: Ledger) -> None:
    done = call("labels", "add", "sentiment", "neutral")
    assert (done.code, done.out) == (
        0,
        "sentiment: feedback may say neg, pos, neutral; 'neutral' is answered once it is taught\n",
    )
    with ledger.begin() as tx:
        assert feedback.record_feedback(
            tx, [feedback.FeedbackItem(prediction_id="p1", label="neutral")]
        ).joined
    again = call("labels", "add", "sentiment", "neutral")
    assert again.code != 0
    assert "a class 'neutral' already" in again.err
