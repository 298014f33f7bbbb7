"""Compose, Kubernetes and the Dockerfile are checked against the code that they start. No engine is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from typer.main import get_command

from service.auth import PUBLIC
from service.cli.app import app
from tests.fixtures.deploy_files import COMPOSE, DOCKERFILE, K8S_FILES, OURS, ROOT, SERVICES, started
from trimtab.settings import known_environment

KUSTOMIZATION = yaml.safe_load((ROOT / "k8s/base/kustomization.yaml").read_text(encoding="utf-8"))
SETTING = re.compile(r"\bTRIMTAB_[A-Z_]+\b")


def objects() -> Iterator[dict[str, Any]]:
    """Every object that the base applies."""
    for name in KUSTOMIZATION["resources"]:
        yield from yaml.safe_load_all((ROOT / "k8s/base" / name).read_text(encoding="utf-8"))


WORKLOADS = {item["metadata"]["name"]: item for item in objects() if item["kind"] in {"Deployment", "Job"}}
DEPLOYMENTS = {name: item for name, item in WORKLOADS.items() if item["kind"] == "Deployment"}


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", workload["spec"]["template"]["spec"])


def container_of(workload: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod_of(workload)["containers"]
    return cast("dict[str, Any]", container)


@pytest.mark.parametrize(
    "file", [*K8S_FILES, ROOT / "docker/compose.yaml", ROOT / "docker/Dockerfile"], ids=lambda f: f.name
)
def test_every_setting_exists(file: Path) -> None:
    """An unknown TRIMTAB_ variable stops the start, so a file must not set one."""
    assert set(SETTING.findall(file.read_text(encoding="utf-8"))) - known_environment() <= {
        "TRIMTAB_API_PORT"
    }


def test_values_of_the_images_are_valid_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from trimtab.settings import read_settings

    for name, value in re.findall(r"\b(TRIMTAB_[A-Z_]+)=(\S+)", DOCKERFILE):
        monkeypatch.setenv(name, value)
    for literal in KUSTOMIZATION["configMapGenerator"][0]["literals"]:
        monkeypatch.setenv(*literal.split("=", 1))
    assert read_settings().auth.mode == "keys"


def test_nothing_is_pinned_to_latest() -> None:
    images = [service["image"] for service in COMPOSE["services"].values()]
    assert [image for image in images if not re.search(r":[\w.-]*\d[\w.-]*$", image)] == []
    assert {image["newTag"] for image in KUSTOMIZATION["images"]} == {"0.1.0"}


def test_k8s_images_are_those_that_the_dockerfile_makes() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\w[\w-]*)", DOCKERFILE, re.MULTILINE))
    named = {image["name"] for image in KUSTOMIZATION["images"]}
    assert {container_of(workload)["image"] for workload in WORKLOADS.values()} == named
    assert {name.removeprefix("trimtab-") for name in named} <= stages
    assert {service["build"]["target"] for service in OURS.values()} <= stages


@pytest.mark.parametrize("line", list(started()), ids=" ".join)
def test_command_lines_are_understood(line: list[str]) -> None:
    """Parsed by the program's own parser: names, options and their values."""
    command = cast(Any, get_command(app))
    for name in line:
        command = command.commands[name] if hasattr(command, "commands") else command
    words = [word for word in line if word not in {"keys", command.name}]
    command.make_context(command.name, words)


@pytest.mark.parametrize("name", sorted(OURS))
def test_compose_services_are_hardened(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_only_workers_see_the_private_key() -> None:
    compose = {name for name, service in OURS.items() if "private-key" in str(service["volumes"])}
    assert compose == {"setup", "worker", "worker-gpu", "demo-model"}
    k8s = {name for name, workload in WORKLOADS.items() if "trimtab-signing" in str(workload)}
    assert k8s == {"trimtab-worker"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_whoever_reads_versions_has_the_public_key_where_the_setting_says(name: str) -> None:
    """Compose: the path of each key lies in a mounted volume."""
    service = OURS[name]
    mounted = [volume.split(":")[1] for volume in service["volumes"]]
    keys = {key: value for key, value in service["environment"].items() if "SIGNING" in key}
    assert "TRIMTAB_SIGNING__PUBLIC_KEY" in keys
    assert all(any(path.startswith(f"{folder}/") for folder in mounted) for path in keys.values())


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_pods_have_the_public_key_where_the_setting_says(name: str) -> None:
    container = container_of(DEPLOYMENTS[name])
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    keys = {variable["name"]: variable["value"] for variable in container["env"]}
    assert "TRIMTAB_SIGNING__PUBLIC_KEY" in keys
    assert all(any(path.startswith(f"{folder}/") for folder in mounted) for path in keys.values())


def test_compose_volumes_are_declared() -> None:
    used = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if re.match(r"\w", volume)
    }
    assert used == set(COMPOSE["volumes"])


def test_compose_names_every_variable_in_the_example() -> None:
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "docker/compose.yaml").read_text(encoding="utf-8")))
    offered = set(
        re.findall(r"^(\w+)=", (ROOT / "docker/.env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert asked == offered


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_pods_are_restricted(name: str) -> None:
    """What the `restricted` pod security standard asks for, and a read-only root."""
    pod, container = pod_of(WORKLOADS[name]), container_of(WORKLOADS[name])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_pods_get_no_service_variables(name: str) -> None:
    """Kubernetes would inject TRIMTAB_API_PORT for the Service `trimtab-api`: an unknown setting."""
    assert pod_of(WORKLOADS[name])["enableServiceLinks"] is False


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_mounts_have_their_volume(name: str) -> None:
    pod, container = pod_of(WORKLOADS[name]), container_of(WORKLOADS[name])
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_selectors_match_the_pods(name: str) -> None:
    labels = DEPLOYMENTS[name]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        item["spec"]["selector"]
        for item in objects()
        if item["metadata"]["name"] == name and item["kind"] not in {"Job", "NetworkPolicy"}
    ]
    assert len(selectors) >= 2
    assert all(selector.get("matchLabels", selector) == labels for selector in selectors)


def test_services_point_to_ports_that_exist() -> None:
    for service in (item for item in objects() if item["kind"] == "Service"):
        ports = {port["name"] for port in container_of(WORKLOADS[service["metadata"]["name"]])["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def probed_paths() -> set[str]:
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    containers = [container_of(workload) for workload in DEPLOYMENTS.values()]
    return {
        container[probe]["httpGet"]["path"]
        for container in containers
        for probe in probes
        if probe in container
    }


def test_probes_and_health_checks_hit_public_routes() -> None:
    """A kubelet has no key. `/metrics` of worker and monitor is a plain metrics port."""
    checked = set(re.findall(r"http://127\.0\.0\.1:\d+(/[\w/]+)", DOCKERFILE)) | probed_paths()
    assert checked <= PUBLIC | {"/metrics"}
    assert {"/v2/health/live", "/v2/health/ready"} <= checked


def test_metrics_ports_agree() -> None:
    literals = dict(literal.split("=", 1) for literal in KUSTOMIZATION["configMapGenerator"][0]["literals"])
    for name in ("worker", "monitor"):
        (port,) = container_of(WORKLOADS[f"trimtab-{name}"])["ports"]
        assert str(port["containerPort"]) == literals[f"TRIMTAB_{name.upper()}__METRICS_PORT"]
        assert f"TRIMTAB_{name.upper()}__METRICS_PORT={port['containerPort']}" in DOCKERFILE


def test_every_secret_is_in_the_example() -> None:
    example = (ROOT / "k8s/secret.example.yaml").read_text(encoding="utf-8")
    offered = {item["metadata"]["name"] for item in yaml.safe_load_all(example)}
    used = set(
        re.findall(r"'(?:secretName|name)': '(trimtab-(?:secrets|verify|signing))'", str(list(objects())))
    )
    assert used == offered


def test_the_monitor_image_has_no_torch() -> None:
    """Its stage copies from `core`, which is built without an extra."""
    assert re.search(r"AS monitor\nCOPY --from=core-code", DOCKERFILE)
    assert re.search(r"FROM core AS core-code", DOCKERFILE)
    core = DOCKERFILE.split(" AS core\n")[1].split("\nFROM ")[0]
    assert "torch==" not in core
    assert "pip install .\n" in core


def test_torch_is_the_same_everywhere() -> None:
    pin = re.search(r"^torch==.+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pin is not None
    assert pin[0] in DOCKERFILE
    assert pin[0] in (ROOT / "Makefile").read_text(encoding="utf-8")
