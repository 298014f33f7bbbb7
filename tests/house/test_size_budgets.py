"""Budgets and banned things: what keeps the code readable is counted, not hoped for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("trimtab", "service", "workers", "monitoring")
MAX_FUNCTION_LINES = 60
USUAL_FUNCTION_LINES = 40
USUAL_SHARE = 0.95
MAX_FILE_LINES = 400
MAX_INHERITANCE = 2
VAGUE_FILES = {
    "utils.py",
    "util.py",
    "helpers.py",
    "helper.py",
    "common.py",
    "misc.py",
    "core.py",
    "manager.py",
}
VAGUE_CLASS = re.compile(r"(Manager|Helper|Utils?|Impl)$")
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
LEFT_OVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def source_files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def nodes(*folders: str) -> Iterator[tuple[str, ast.AST]]:
    """Every syntax node with its place, as `folder/file.py:line`."""
    for file in source_files(*folders):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            yield f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", node


def function_lengths(*folders: str) -> dict[str, int]:
    return {
        f"{place} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for place, node in nodes(*folders)
        if isinstance(node, FUNCTIONS)
    }


def test_no_function_is_long() -> None:
    lengths = function_lengths(*PACKAGES, "tests")
    assert {place: n for place, n in lengths.items() if n > MAX_FUNCTION_LINES} == {}


def test_nearly_all_functions_are_short() -> None:
    lengths = function_lengths(*PACKAGES).values()
    if lengths:
        assert sum(n <= USUAL_FUNCTION_LINES for n in lengths) / len(lengths) >= USUAL_SHARE


def test_no_file_is_long() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for file in source_files(*PACKAGES, "tests")
    }
    assert {file: n for file, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_inheritance_is_shallow() -> None:
    parents = {
        node.name: [base.id for base in node.bases if isinstance(base, ast.Name)]
        for _, node in nodes(*PACKAGES)
        if isinstance(node, ast.ClassDef)
    }

    def depth(name: str) -> int:
        return max((1 + depth(parent) for parent in parents[name] if parent in parents), default=0)

    assert {name: depth(name) for name in parents if depth(name) > MAX_INHERITANCE} == {}


def test_names_say_what_a_thing_is() -> None:
    vague = [str(file) for file in source_files(*PACKAGES, "tests") if file.name in VAGUE_FILES]
    vague += [
        f"{place} {node.name}"
        for place, node in nodes(*PACKAGES)
        if isinstance(node, ast.ClassDef) and VAGUE_CLASS.search(node.name)
    ]
    assert vague == []


def test_nothing_is_a_stub() -> None:
    stubs = [
        place
        for place, node in nodes(*PACKAGES)
        if isinstance(node, ast.Raise)
        and node.exc is not None
        and "NotImplementedError" in ast.dump(node.exc)
    ]
    marks = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in source_files(*PACKAGES, "tests")
        if file != Path(__file__)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if LEFT_OVER.search(line)
    ]
    assert stubs + marks == []


def test_no_pickle() -> None:
    """Neither by import nor through torch, whose `load` unpickles."""
    unsafe = []
    for place, node in nodes(*PACKAGES, "tests"):
        match node:
            case ast.Import(names=names):
                unsafe += [place for alias in names if alias.name.split(".")[0] in UNSAFE_MODULES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNSAFE_MODULES:
                unsafe.append(place)
            case ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save"):
                unsafe.append(place)
            case _:
                pass
    assert unsafe == []


def test_tests_do_not_sleep() -> None:
    """A test waits on the thing that it waits for: an event, a process, a condition with a deadline."""
    asleep = []
    for place, node in nodes("tests"):
        match node:
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name(id="sleep")):
                asleep.append(place)
            case _:
                pass
    assert asleep == []


@pytest.mark.parametrize("folder", ["tests", "docker", "k8s"])
def test_these_folders_are_no_packages(folder: str) -> None:
    """`tests/service/__init__.py` would shadow the real `service`."""
    assert list((ROOT / folder).rglob("__init__.py")) == []
