"""Each Kustomize overlay is built by kubectl, checked by the schemas of Kubernetes, and by what it promises."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus_operator
from cloudcoil.models.prometheus_operator import v1alpha1 as prometheus_operator_alpha
from pydantic import BaseModel

from service.auth import PUBLIC, Role, needed_role
from trimtab.metrics import QUEUE_DURATION
from trimtab.settings import Settings, read_settings

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
OVERLAYS = ("base", "overlays/demo", "overlays/gpu", "overlays/production")
KUBERNETES = "1.32"
# Kinds of operators: models made from their resource definitions (KEDA 2.16, Prometheus operator 0.80).
FOREIGN: dict[str, type[BaseModel]] = {
    "ScaledObject": keda.ScaledObject,
    "TriggerAuthentication": keda.TriggerAuthentication,
    "ServiceMonitor": prometheus_operator.ServiceMonitor,
    "PrometheusRule": prometheus_operator.PrometheusRule,
    "AlertmanagerConfig": prometheus_operator_alpha.AlertmanagerConfig,
}
# What a trigger must and may say is in KEDA's documentation only (keda.sh/docs/2.16/scalers): its schema takes any.
TRIGGERS = {
    "prometheus": ({"serverAddress", "query", "threshold"}, {"activationThreshold", "ignoreNullValues"}),
    "cpu": ({"value"}, {"containerName"}),
    "postgresql": ({"query", "targetQueryValue"}, {"activationTargetQueryValue"}),
}


@cache
def built(overlay: str) -> list[dict[str, Any]]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: it builds the overlays, without a cluster")
    run = subprocess.run(
        [kubectl, "kustomize", ROOT / "k8s" / overlay], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return list(yaml.safe_load_all(run.stdout))


def of_kind(overlay: str, *kinds: str) -> list[dict[str, Any]]:
    return [item for item in built(overlay) if item["kind"] in kinds]


def pods(overlay: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, labels, pod spec) of everything that starts pods."""
    for item in of_kind(overlay, "Deployment", "StatefulSet", "Job", "CronJob"):
        spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
        template = spec["template"]
        yield item["metadata"]["name"], template["metadata"]["labels"], template["spec"]


def containers(overlay: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, _, pod in pods(overlay):
        yield from ((name, container) for container in pod["containers"])


def environment(overlay: str, container: dict[str, Any]) -> dict[str, str]:
    """The plain variables of a container: those of config maps and its own."""
    maps = {item["metadata"]["name"]: item["data"] for item in of_kind(overlay, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps.get(source.get("configMapRef", {}).get("name"), {})
    return found | {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_fits_its_schema(overlay: str) -> None:
    checked = [item for item in built(overlay) if item["kind"] not in FOREIGN]
    assert len(checked) >= 10
    for item in checked:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)


def objects_of_operators() -> list[dict[str, Any]]:
    return of_kind("overlays/production", *FOREIGN)


def misfit(item: dict[str, Any]) -> str:
    """What the operator's definition says against an object; nothing when it fits. Unknown fields do not fit."""
    try:
        FOREIGN[item["kind"]].model_validate(item, extra="forbid", by_alias=True, by_name=False)
    except ValueError as error:
        return str(error)
    return ""


def test_operators_take_their_objects() -> None:
    assert {item["kind"] for item in objects_of_operators()} == set(FOREIGN)
    assert [misfit(item) for item in objects_of_operators()] == [""] * len(objects_of_operators())


@pytest.mark.parametrize("kind", FOREIGN)
def test_operators_refuse_a_field_that_they_do_not_know(kind: str) -> None:
    """Else the test above could not fail."""
    item, *_ = of_kind("overlays/production", kind)
    assert "spec.cooldown\n" in misfit(item | {"spec": item["spec"] | {"cooldown": 1}})


def triggers() -> list[dict[str, Any]]:
    return [
        each for item in of_kind("overlays/production", "ScaledObject") for each in item["spec"]["triggers"]
    ]


def test_triggers_say_what_their_scaler_reads() -> None:
    assert {trigger["type"] for trigger in triggers()} == set(TRIGGERS)
    for trigger in triggers():
        required, optional = TRIGGERS[trigger["type"]]
        assert required <= set(trigger["metadata"]) <= required | optional
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_triggers_log_in_with_a_secret_that_exists() -> None:
    (login,) = of_kind("overlays/production", "TriggerAuthentication")
    (target,) = login["spec"]["secretTargetRef"]
    secrets = list(yaml.safe_load_all((ROOT / "k8s/secret.example.yaml").read_text(encoding="utf-8")))
    (secret,) = [each for each in secrets if each["metadata"]["name"] == target["name"]]
    assert (target["parameter"], target["key"] in secret["stringData"]) == ("connection", True)
    asked = {each["authenticationRef"]["name"] for each in triggers() if "authenticationRef" in each}
    assert asked == {login["metadata"]["name"]}


def test_the_api_scales_by_a_wait_that_it_reports() -> None:
    """The wait is of one request: divided by the replicas, as KEDA does unless told, it would say nothing."""
    (trigger,) = [each for each in triggers() if each["type"] == "prometheus"]
    assert trigger["metricType"] == "Value"
    (family,) = QUEUE_DURATION.collect()
    assert set(re.findall(r"trimtab_\w+", trigger["metadata"]["query"])) == {f"{family.name}_bucket"}
    # Without traffic the quantile is NaN, which KEDA took for a number far below zero (kedacore/keda#7475).
    assert trigger["metadata"]["query"].endswith(">= 0) or vector(0)")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted_and_limited(overlay: str) -> None:
    """The pod security standard `restricted`, a read-only root, a limit of memory, and no word of other services."""
    for name, _, pod in pods(overlay):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False), name
        assert not any("hostPath" in volume for volume in pod["volumes"]), name
    for name, container in containers(overlay):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }, name  # fmt: skip
        assert "memory" in container["resources"]["limits"], name
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_image_is_of_an_unknown_version(overlay: str) -> None:
    images = [container["image"] for _, container in containers(overlay)]
    assert [image for image in images if not re.search(r":[\w.-]*\d[\w.-]*$", image)] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whatever_is_mounted_or_read_exists(overlay: str) -> None:
    """Volumes of mounts, claims, and config maps; secrets exist or are in the example."""
    claims = {item["metadata"]["name"] for item in of_kind(overlay, "PersistentVolumeClaim")}
    maps = {item["metadata"]["name"] for item in of_kind(overlay, "ConfigMap")}
    secrets = {item["metadata"]["name"] for item in of_kind(overlay, "Secret")}
    example = yaml.safe_load_all((ROOT / "k8s/secret.example.yaml").read_text(encoding="utf-8"))
    secrets |= {item["metadata"]["name"] for item in example}
    for item, (name, _, pod) in zip(
        of_kind(overlay, "Deployment", "StatefulSet", "Job", "CronJob"), pods(overlay), strict=True
    ):
        templates = {each["metadata"]["name"] for each in item["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"] for volume in pod["volumes"]} | templates
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, name
            for source in container.get("envFrom", []):
                assert source.get("configMapRef", {"name": next(iter(maps))})["name"] in maps, name
                assert source.get("secretRef", {"name": next(iter(secrets))})["name"] in secrets, name
        for volume in pod["volumes"]:
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}, name
            assert (volume.get("secret") or {}).get("secretName") in {None, *secrets}, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_their_pods(overlay: str) -> None:
    labels = [pod_labels for _, pod_labels, _ in pods(overlay)]
    for item in of_kind(overlay, "Service", "PodDisruptionBudget", "Deployment", "StatefulSet"):
        selector = item["spec"]["selector"].get("matchLabels", item["spec"]["selector"])
        assert sum(selector.items() <= each.items() for each in labels) == 1, item["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_valid_setting(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, container in containers(overlay):
        if not container["image"].rpartition("/")[2].startswith("trimtab-"):
            continue
        with monkeypatch.context() as patch:
            for variable, value in environment(overlay, container).items():
                patch.setenv(variable, value)
            assert read_settings().auth.mode == "keys", name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_deployment_survives_a_node_and_a_roll_out(overlay: str) -> None:
    budgets = {item["metadata"]["name"]: item["spec"] for item in of_kind(overlay, "PodDisruptionBudget")}
    for item in of_kind(overlay, "Deployment"):
        name, pod = item["metadata"]["name"], item["spec"]["template"]["spec"]
        replicas = item["spec"].get("replicas", 1)
        # A budget that allows no disruption would block the drain of a node for ever.
        assert budgets[name].get("minAvailable", 0) < max(replicas, 2), name
        assert pod["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname", name
        assert {"startupProbe", "livenessProbe"} <= set(pod["containers"][0]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_has_longer_than_it_drains(overlay: str) -> None:
    (api,) = [pod for name, _, pod in pods(overlay) if name == "trimtab-api"]
    drain = environment(overlay, api["containers"][0]).get(
        "TRIMTAB_SERVER__DRAIN_S", Settings().server.drain_s
    )
    pause = int(api["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert api["terminationGracePeriodSeconds"] > float(drain) + pause
    assert api["containers"][0]["readinessProbe"]["httpGet"]["path"] in PUBLIC


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nobody_comes_in_but_by_a_rule(overlay: str) -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in of_kind(overlay, "NetworkPolicy")}
    assert policies["trimtab-deny"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    opened = {
        (name, port["port"])
        for name, spec in policies.items()
        for rule in spec.get("ingress", [])
        for port in rule["ports"]
    }
    stores = {("valkey", 6379), ("postgres", 5432)} if overlay.endswith("demo") else set()
    assert opened == {("trimtab-api", 8000), ("trimtab-metrics", 9101), ("trimtab-metrics", 9102), *stores}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_workers_can_sign(overlay: str) -> None:
    """Neither by the secret nor by the volume; the demo's migration makes the key."""
    signers = {name for name, _, pod in pods(overlay) if re.search("trimtab-(signing|private-key)", str(pod))}
    assert signers == {"trimtab-worker"} | ({"trimtab-migrate"} if overlay.endswith("demo") else set())


def test_the_gpu_overlay_asks_for_a_gpu() -> None:
    (worker,) = [pod for name, _, pod in pods("overlays/gpu") if name == "trimtab-worker"]
    (container,) = worker["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"] == "trimtab-worker-gpu:0.1.0"
    assert environment("overlays/gpu", container)["TRIMTAB_DEVICE"] == "cuda"


def test_production_scales_what_is_there() -> None:
    scaled = {
        item["metadata"]["name"]: item["spec"] for item in of_kind("overlays/production", "ScaledObject")
    }
    deployments = {
        item["metadata"]["name"]: item["spec"] for item in of_kind("overlays/production", "Deployment")
    }
    for name, spec in scaled.items():
        assert spec["scaleTargetRef"]["name"] == name
        assert "replicas" not in deployments[name]  # else every apply would undo the scaling
    assert set(scaled) == {"trimtab-api", "trimtab-worker"}
    (query,) = [t["metadata"]["query"] for t in scaled["trimtab-worker"]["triggers"]]
    _runs_on_the_ledger(query)


def _runs_on_the_ledger(query: str) -> None:
    import sqlalchemy

    from trimtab.ledger.schema import metadata

    engine = sqlalchemy.create_engine("sqlite://")
    with engine.begin() as tx:
        metadata.create_all(tx)
        assert tx.exec_driver_sql(query).scalar_one() == 0
    engine.dispose()


def test_the_ingress_shows_neither_orders_nor_metrics() -> None:
    (ingress,) = of_kind("overlays/production", "Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert {path["path"] for path in rule["http"]["paths"]} == {"/v1/", "/v2/"}
    assert rule["host"] in ingress["spec"]["tls"][0]["hosts"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prometheus_may_call_a_pod_by_its_address(overlay: str) -> None:
    """TRIMTAB_SERVER__HOSTS would answer it with 421; with keys, a Host protects nothing."""
    for name, container in containers(overlay):
        assert "TRIMTAB_SERVER__HOSTS" not in environment(overlay, container), name


def test_alerts_are_those_of_the_rules_file() -> None:
    (rule,) = of_kind("overlays/production", "PrometheusRule")
    file = yaml.safe_load((ROOT / "monitoring/prometheus/rules.yml").read_text(encoding="utf-8"))
    assert rule["spec"] == file


def test_drift_alerts_come_back_to_a_route_of_the_api() -> None:
    """As in compose: the same alerts, the same times, a key of its own."""
    (config,) = of_kind("overlays/production", "AlertmanagerConfig")
    route, composed = config["spec"]["route"], alertmanager()["route"]["routes"][0]
    assert [f'{each["name"]}{each["matchType"]}"{each["value"]}"' for each in route["matchers"]] == composed[
        "matchers"
    ]
    assert (route["groupWait"], route["repeatInterval"]) == (
        composed["group_wait"],
        composed["repeat_interval"],
    )
    (hook,) = config["spec"]["receivers"][0]["webhookConfigs"]
    (service,) = [
        each
        for each in of_kind("overlays/production", "Service")
        if each["metadata"]["name"] == "trimtab-api"
    ]
    host, _, path = hook["url"].removeprefix("http://").partition("/")
    (port,) = service["spec"]["ports"]
    assert host == f"{service['metadata']['name']}.{service['metadata']['namespace']}:{port['port']}"
    assert needed_role("POST", f"/{path}") is Role.OPERATE


def alertmanager() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker/alertmanager.yml").read_text(encoding="utf-8"))
    return found


def test_services_are_scraped_on_ports_that_they_have() -> None:
    services = of_kind("overlays/production", "Service")
    for monitor in of_kind("overlays/production", "ServiceMonitor"):
        (endpoint,) = monitor["spec"]["endpoints"]
        wanted = monitor["spec"]["selector"]
        components = [wanted.get("matchLabels", {}).get("app.kubernetes.io/component")]
        components += [value for each in wanted.get("matchExpressions", []) for value in each["values"]]
        for component in filter(None, components):
            (service,) = [s for s in services if s["metadata"]["name"] == f"trimtab-{component}"]
            assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
