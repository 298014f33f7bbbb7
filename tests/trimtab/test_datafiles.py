"""Every kind of bad line gives file, line number, reason and what would be right; nothing is half-loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trimtab.datafiles import BadLine, Row, load_rows, require_classes
from trimtab.errors import DataError

GOOD = '{"text": "fine", "label": "a"}'


def write(tmp_path: Path, content: str | bytes, name: str = "rows.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path, labels: tuple[str, ...] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        load_rows(path, labels=labels)
    return str(caught.value)


def test_reads_every_column_of_json_lines(tmp_path: Path) -> None:
    line = {"text": "é", "label": "a", "id": "7", "domain": "d", "group": "g", "timestamp": 12.5, "else": [1]}
    path = write(tmp_path, json.dumps(line) + "\n\n" + GOOD + "\n")
    rows = load_rows(path).rows
    assert rows[0] == Row(text="é", label="a", id="7", domain="d", group="g", timestamp=12.5, line=1)
    assert rows[1] == Row(text="fine", label="a", line=3)


def test_reads_every_column_of_csv(tmp_path: Path) -> None:
    content = 'label,text,id,domain,group,timestamp,x\na,"one, ""two""\nthree",7,d,g,2026-01-31T12:00:00Z,\n'
    content += "\nb,four,,,,,z\n"
    rows = load_rows(write(tmp_path, content, "rows.csv")).rows
    assert rows[0] == Row(
        text='one, "two"\nthree', label="a", id="7", domain="d", group="g", timestamp=1769860800.0, line=2
    )
    assert rows[1] == Row(text="four", label="b", line=5)


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    rows = load_rows(write(tmp_path, "\ufefftext,label\r\none,a\r\n", "rows.CSV")).rows
    assert [(row.text, row.label) for row in rows] == [("one", "a")]
    assert load_rows(write(tmp_path, "\ufeff" + GOOD + "\r\n")).rows[0].text == "fine"


def test_a_whole_number_may_be_an_id(tmp_path: Path) -> None:
    assert load_rows(write(tmp_path, '{"text": "t", "label": "a", "id": 7}')).rows[0].id == "7"


BAD_JSON_LINES = {
    '{"text": "cut off", "lab': ("not valid JSON", 'write {"text"'),
    '["text", "label"]': ("JSON list instead of an object", 'write {"text"'),
    "[" * 100_000: ("nested too deeply", 'write {"text"'),
    '{"label": "a"}': ("text is missing", "give a string"),
    '{"text": "t"}': ("label is missing", "give a string"),
    '{"text": null, "label": "a"}': ("text is missing", "give a string"),
    '{"text": "  ", "label": "a"}': ("text is empty", "at least one character"),
    '{"text": "t", "label": ""}': ("label is empty", "at least one character"),
    '{"text": 5, "label": "a"}': ("text is a number", 'such as "5"'),
    '{"text": ["t"], "label": "a"}': ("text is a list", "give a string"),
    '{"text": "t", "label": 1}': ("label is a number", 'such as "1"'),
    '{"text": "t", "label": true}': ("label is a boolean", "give a string"),
    '{"text": "t", "label": "z"}': ("unknown label 'z'", "use one of a, b"),
    '{"text": "t", "label": "a", "domain": 3}': ("domain is a number", "give a string"),
    '{"text": "t", "label": "a", "group": {}}': ("group is a object", "give a string"),
    '{"text": "t", "label": "a", "id": 1.5}': ("id is a number", "give a string"),
    '{"text": "t", "label": "a", "id": "same"}': ("'same' is used on line 1", "make it unique"),
    '{"text": "t\\u0000", "label": "a"}': ("NUL character", "remove it"),
    '{"text": "\\ud800", "label": "a"}': ("not valid UTF-8", "save the file as UTF-8"),
    '{"text": "t", "label": "a", "timestamp": "soon"}': ("'soon' is not a time", "ISO 8601"),
    '{"text": "t", "label": "a", "timestamp": [1]}': ("timestamp is a list", "ISO 8601"),
    '{"text": "t", "label": "a", "timestamp": NaN}': ("is not a time", "epoch seconds"),
}


@pytest.mark.parametrize("line", BAD_JSON_LINES, ids=[reason for reason, _ in BAD_JSON_LINES.values()])
def test_bad_json_line_is_told_with_file_line_reason_and_remedy(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, f'{{"text": "first", "label": "a", "id": "same"}}\n{line}\n{GOOD}\n')
    message = refusal(path, ("a", "b"))
    assert f"{path}, line 2: " in message
    for part in BAD_JSON_LINES[line]:
        assert part in message
    kept = load_rows(path, labels=("a", "b"), skip_bad=True)
    assert [row.line for row in kept.rows] == [1, 3]
    assert [bad.line for bad in kept.skipped] == [2]


def test_bytes_that_are_not_utf8_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.encode() + b'\n{"text": "caf\xe9", "label": "a"}\n')
    assert f"{path}, line 2: text is not valid UTF-8: save the file as UTF-8" in refusal(path)
    table = write(tmp_path, b"text,label\nfine,a\ncaf\xe9,a\n", "rows.csv")
    assert f"{table}, line 3: text is not valid UTF-8" in refusal(table)


def test_utf16_is_not_taken_for_text(tmp_path: Path) -> None:
    assert "not valid JSON" in refusal(write(tmp_path, GOOD.encode("utf-16")))


BAD_CSV_LINES = {
    "only one": ("1 columns where the header has 3", "one value per column"),
    "a, comma,b,7": ("4 columns where the header has 3", "quote a value that holds a comma"),
    ",a,7": ("text is empty", "at least one character"),
    "t,,7": ("label is empty", "at least one character"),
    "t,z,7": ("unknown label 'z'", "use one of a, b"),
    "t\0,a,7": ("NUL character", "remove it"),
    '"t"x,a,7': ("not valid CSV", "close every quote"),
}


@pytest.mark.parametrize("line", BAD_CSV_LINES, ids=[reason for reason, _ in BAD_CSV_LINES.values()])
def test_bad_csv_line_is_told_with_file_line_reason_and_remedy(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, f"text,label,id\nfirst,a,1\n{line}\nlast,b,2\n", "rows.csv")
    message = refusal(path, ("a", "b"))
    assert f"{path}, line 3: " in message
    for part in BAD_CSV_LINES[line]:
        assert part in message
    kept = load_rows(path, labels=("a", "b"), skip_bad=True)
    assert [row.text for row in kept.rows] == ["first", "last"]
    assert [bad.line for bad in kept.skipped] == [3]


def test_unclosed_quote_is_told_where_it_opens(tmp_path: Path) -> None:
    path = write(tmp_path, 'text,label\nfine,a\n"never closed,a\nmore,a\n', "rows.csv")
    assert f"{path}, line 3: not valid CSV" in refusal(path)


def test_the_first_bad_line_is_told_and_the_others_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, f"{GOOD}\n{{\n{GOOD}\n[]\n")
    assert refusal(path).endswith("(and 1 more bad lines; --skip-bad leaves them out)")
    assert load_rows(path, skip_bad=True).skipped[1] == BadLine(
        4, 'a JSON list instead of an object: write {"text": "...", "label": "..."}'
    )


BAD_FILES = {
    "header.csv": ("good film,a\n", "line 1: the header lacks text and label"),
    "half.csv": ("text,class\nx,a\n", "line 1: the header lacks label"),
    "twice.csv": ("text,label,text\nx,a,y\n", "line 1: the header names text twice"),
    "quote.csv": ('"text,label\nx,a\n', "line 1: the header is not valid CSV"),
    "empty.jsonl": ("", "the file is empty"),
    "blank.csv": (" \n\n", "the file is empty"),
    "bare.csv": ("text,label\n", "no usable row"),
    "rows.xlsx": ("x", "the name must end in"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_refused_even_when_bad_lines_are_skipped(tmp_path: Path, name: str) -> None:
    content, reason = BAD_FILES[name]
    path = write(tmp_path, content, name)
    with pytest.raises(DataError, match=reason):
        load_rows(path, skip_bad=True)
    assert str(path) in refusal(path)


def test_a_file_of_bad_lines_only_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "{\n")
    with pytest.raises(DataError, match=r"no usable row.* bad lines, line 1: not valid JSON"):
        load_rows(path, skip_bad=True)


def test_missing_file_and_directory_are_told(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "directory" in refusal(tmp_path / "folder.csv").lower()


def test_a_classifier_needs_two_classes(tmp_path: Path) -> None:
    file = load_rows(write(tmp_path, GOOD))
    with pytest.raises(DataError, match=r"only one label \(a\)"):
        require_classes(file)
    with pytest.raises(DataError, match="no row has the label b"):
        require_classes(file, ("a", "b"))


def test_labels_keep_the_given_order_else_are_sorted(tmp_path: Path) -> None:
    file = load_rows(write(tmp_path, f'{GOOD}\n{{"text": "t", "label": "Z"}}\n'))
    assert require_classes(file) == ("Z", "a")
    assert require_classes(file, ("a", "Z", "a")) == ("a", "Z")
