"""Docs are true: commands, targets, settings, metrics, routes and links in them exist, and none is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from typer.main import get_command

from service.cli.app import app
from trimtab import metrics
from trimtab.settings import Settings, known_environment

ROOT = Path(__file__).parents[2]
DOCS = sorted(ROOT.glob("docs/**/*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
TRIMTAB = re.compile(r"(?:^|[`\s/])(?<!-n )trimtab ([a-z]+)(?: ([a-z]+))?\b(?![\w:=])", re.MULTILINE)
ROUTE = re.compile(r"^\| `(GET|POST|PUT|DELETE) (/\S+)`", re.MULTILINE)


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(group: Any = None, prefix: str = "") -> dict[str, Any]:
    """Every command of the command line, `keys add` among them, with its click object."""
    found: dict[str, Any] = {}
    for name, command in (group or cast(Any, get_command(app))).commands.items():
        inner = hasattr(command, "commands")
        found |= commands(command, f"{prefix}{name} ") if inner else {f"{prefix}{name}": command}
    return found


COMMANDS = commands()


def code_of(text: str) -> str:
    """What stands in code: fenced blocks and `inline` spans; a command is told from the project's name by this."""
    fenced = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))])


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    targets = [link.split("#")[0] for link in LINK.findall(file.read_text(encoding="utf-8"))]
    local = [target for target in targets if target and not target.startswith(("http://", "https://"))]
    assert [target for target in local if not (file.parent / target).exists()] == []


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_exist(file: Path) -> None:
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    named = TRIMTAB.findall(code_of(file.read_text(encoding="utf-8")))
    unknown = [
        f"trimtab {first} {second}"
        for first, second in named
        if (f"{first} {second}" if first in groups and second else first) not in COMMANDS.keys() | groups
    ]
    assert unknown == []


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_make_targets_exist(file: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    named = re.findall(r"\bmake ((?:[a-z-]+ ?)+)", code_of(file.read_text(encoding="utf-8")))
    assert {word for words in named for word in words.split()} <= targets


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_settings_exist(file: Path) -> None:
    named = set(re.findall(r"\bTRIMTAB_[A-Z]+(?:_[A-Z]+)*(?:__[A-Z_]+)?\b", file.read_text(encoding="utf-8")))
    explained = {"TRIMTAB_API_PORT", "TRIMTAB_TEST_NO_SKIPS"}  # named as what is no setting
    assert named - known_environment() - explained == set()


def setting_rows() -> dict[str, str]:
    """Variable -> default, as the reference says."""
    rows = re.findall(
        r"^\| `(TRIMTAB_\w+)` \| (\S.*?) \|", page("docs/reference/configuration.md"), re.MULTILINE
    )
    return dict(rows)


def default_of(variable: str) -> str:
    path = variable.removeprefix("TRIMTAB_").lower().split("__")
    value: Any = Settings.model_construct()
    for name in path:
        value = getattr(value, name)
    if isinstance(value, BaseModel):
        return "`<group>`"
    return "unset" if value is None else f"`{value}`"


def test_every_setting_is_explained_with_its_default() -> None:
    settings = {variable for variable in known_environment() if not default_of(variable).startswith("`<")}
    assert setting_rows() == {variable: default_of(variable) for variable in settings}


def options_of(command: Any) -> set[str]:
    """The long options that a command shows."""
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    return {option for parameter in shown for option in parameter.opts if option.startswith("--")} - {
        "--help"
    }


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_explained_with_its_options(name: str) -> None:
    row = re.search(rf"^\| `trimtab {name}\b.*$", page("docs/reference/cli.md"), re.MULTILINE)
    assert row is not None
    assert options_of(COMMANDS[name]) == set(re.findall(r"--[a-z][a-z-]*", row[0]))


def test_every_metric_is_explained() -> None:
    described = [
        next(iter(metric.describe()))
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
    ]
    names = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in described}
    assert set(re.findall(r"^\| `(trimtab_\w+)`", page("docs/reference/metrics.md"), re.MULTILINE)) == names


def test_every_route_is_explained() -> None:
    from service.app import create_app

    schema = create_app(Settings()).openapi()
    routes = {(method.upper(), path) for path, methods in schema["paths"].items() for method in methods}
    assert set(ROUTE.findall(page("docs/reference/rest.md"))) == routes


def test_the_demo_data_is_cited() -> None:
    assert re.search(r"Hutto.*Gilbert.*ICWSM 2014", page("README.md"), re.DOTALL)


def test_every_decision_is_listed() -> None:
    listed = page("docs/adr/README.md")
    records = [file.name for file in DOCS if file.parent.name == "adr" and file.name != "README.md"]
    assert [name for name in records if name not in listed] == []
