"""Dashboards as Grafana wants them, as far as that can be told without one: its schema, ids, grid, variables, units."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.fixtures.deploy_files import DOCKER, ROOT, SERVICES

FILES = sorted((ROOT / "monitoring/grafana/dashboards").glob("*.json"))
DASHBOARDS: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FILES
}
COLUMNS = 24
# Of Grafana's list of units (packages/grafana-data/src/valueFormats/categories.ts).
UNITS = {"short", "s", "percentunit", "reqps", "ops", "bytes"}
TYPES = {"timeseries", "stat", "bargauge", "state-timeline"}
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

every_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    at = panel["gridPos"]
    return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}


def test_there_is_one_for_each_question() -> None:
    assert list(DASHBOARDS) == ["trimtab-adaptation", "trimtab-drift", "trimtab-fleet", "trimtab-service"]
    assert len({each["title"] for each in DASHBOARDS.values()}) == len(DASHBOARDS)


@every_dashboard
def test_its_address_is_its_file_name_and_it_is_described(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == name
    assert len(name) <= 40  # Grafana's limit of a uid
    assert dashboard["description"]
    assert dashboard["tags"] == ["trimtab"]
    assert "id" not in dashboard  # a provisioned dashboard's id is the database's


@every_dashboard
def test_ids_are_unique_and_panels_explained(name: str) -> None:
    ids = [panel["id"] for panel in DASHBOARDS[name]["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in panels(name)]
    assert len(titles) == len(set(titles))
    assert [panel["title"] for panel in panels(name) if not panel["description"]] == []


@every_dashboard
def test_the_grid_has_no_overlap_and_no_row_is_out_of_order(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS
        assert not taken & cells(panel), panel["title"]
        taken |= cells(panel)
    rows = [panel["gridPos"]["y"] for panel in DASHBOARDS[name]["panels"]]
    assert all(above <= below for above, below in pairwise(rows))


@every_dashboard
def test_every_panel_asks_the_chosen_data_source(name: str) -> None:
    for panel in panels(name):
        assert panel["type"] in TYPES
        assert panel["datasource"] == DATA_SOURCE
        assert panel["targets"]
        assert {target["refId"] for target in panel["targets"]} == set("ABCDEFG"[: len(panel["targets"])])
        assert [target["datasource"] for target in panel["targets"]] == [DATA_SOURCE] * len(panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS


@every_dashboard
def test_steps_of_colour_begin_below_everything_and_grow(name: str) -> None:
    for panel in panels(name):
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
        values = [step["value"] for step in steps]
        assert values[:1] in ([], [None])
        assert values[1:] == sorted(values[1:])


@every_dashboard
def test_variables_that_are_used_are_declared_and_the_other_way_round(name: str) -> None:
    text = json.dumps([panels(name), DASHBOARDS[name]["annotations"]])
    used = set(re.findall(r"\$\{?([a-z]\w*)", text)) - {"__rate_interval"}
    declared = {variable["name"] for variable in DASHBOARDS[name]["templating"]["list"]}
    assert used == declared


@every_dashboard
def test_legends_name_labels_that_the_query_keeps(name: str) -> None:
    """A label that an aggregation drops would show as nothing."""
    for panel in panels(name):
        for target in panel["targets"]:
            kept = re.match(r"(?:sum|max|min) by \(([\w, ]+)\)", target["expr"])
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert kept is None or shown <= set(kept[1].split(", ")), target["expr"]


@every_dashboard
def test_links_lead_to_the_others_by_their_tag(name: str) -> None:
    (link,) = DASHBOARDS[name]["links"]
    assert (link["type"], link["tags"], link["keepTime"]) == ("dashboards", ["trimtab"], True)


def unread(written: Any, read: Any, path: str = "") -> Iterator[str]:
    """Paths of what was written and not read back."""
    if isinstance(written, dict):
        for name, value in written.items():
            yield from unread(value, read.get(name, ...) if isinstance(read, dict) else ..., f"{path}.{name}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for here, there in zip(written, read, strict=True):
            yield from unread(here, there, path)
    elif written != read:
        yield path


def read_by_grafana(dashboard: dict[str, Any]) -> Any:
    """Through the classes that Grafana makes from its own schema, panels and queries of each kind among them."""
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


# Fields of the Prometheus plugin, which the schema of annotations leaves out.
OF_THE_PLUGIN = {f".annotations.list.{name}" for name in ("step", "titleFormat", "textFormat")}


@every_dashboard
def test_grafanas_own_schema_knows_every_field(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert set(unread(dashboard, read_by_grafana(dashboard))) <= OF_THE_PLUGIN


@pytest.mark.parametrize(
    ("path", "name"),
    [((), "titel"), (("fieldConfig", "defaults"), "units"), (("options", "legend"), "position")],
)
def test_a_field_that_grafana_does_not_know_is_noticed(path: tuple[str, ...], name: str) -> None:
    """Else the test above could not fail."""
    wrong = deepcopy(DASHBOARDS["trimtab-service"])
    place = next(panel for panel in wrong["panels"] if panel["type"] == "timeseries")
    for step in path:
        place = place[step]
    place[name] = "wrong"
    assert any(where.endswith(f".{name}") for where in unread(wrong, read_by_grafana(wrong)))


def test_they_are_provisioned_where_compose_mounts_them() -> None:
    providers = yaml.safe_load((DOCKER / "grafana/dashboards.yaml").read_text(encoding="utf-8"))["providers"]
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    assert [each["options"]["path"] for each in providers] == [mounted["../monitoring/grafana/dashboards"]]
    sources = yaml.safe_load((DOCKER / "grafana/datasources.yaml").read_text(encoding="utf-8"))["datasources"]
    assert [(each["type"], each["isDefault"]) for each in sources] == [("prometheus", True)]
