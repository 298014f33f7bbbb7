"""The compose file by its schema and by what it promises; the files that it mounts by the programs' own rules."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from service.app import create_app
from service.auth import RULES, Role, needed_role
from tests.fixtures.deploy_files import DOCKER, ROOT, SERVICES, example_environment, resolved
from trimtab.ledger import Ledger, keys
from trimtab.settings import Settings, read_settings

ALWAYS = {name for name, service in SERVICES.items() if "profiles" not in service}
BIN = Path(sys.executable).parent


def said(*command: object) -> str:
    """What a checker says; nothing when it is content."""
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=ROOT)
    return "" if run.returncode == 0 else run.stdout + run.stderr


def mounts() -> Iterator[str]:
    for service in SERVICES.values():
        yield from (volume.split(":")[0] for volume in service.get("volumes", []))


def test_the_file_fits_the_compose_specification() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml")
    assert said(BIN / "check-jsonschema", *schema) == ""


def test_the_dockerfile_is_what_hadolint_wants() -> None:
    assert said(BIN / "hadolint", DOCKER / "Dockerfile") == ""


@pytest.mark.parametrize("script", ["tests/system/install.sh", "tests/system/build_images.sh", ".ci/run"])
def test_scripts_are_what_shellcheck_wants(script: str) -> None:
    assert said(BIN / "shellcheck", script) == ""


def test_up_starts_everything_that_watches_and_serves() -> None:
    assert {
        "valkey", "postgres", "setup", "scrape-key", "api", "nginx", "worker", "monitor", "prometheus", "alertmanager",
        "grafana",
    } == ALWAYS  # fmt: skip
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    assert profiles == {"gpu", "s3", "demo"}
    assert SERVICES["api"]["deploy"]["replicas"] == 2


def test_nothing_that_always_runs_waits_for_a_profile() -> None:
    for name in ALWAYS:
        assert set(SERVICES[name].get("depends_on", {})) <= ALWAYS


def test_only_the_front_doors_are_open_and_on_loopback() -> None:
    filled = resolved(SERVICES, example_environment())
    ports = {name: service["ports"] for name, service in filled.items() if "ports" in service}
    assert ports == {"nginx": ["127.0.0.1:8000:8080"], "grafana": ["127.0.0.1:3000:3000"]}


def test_every_service_has_a_limit_and_gains_no_privileges() -> None:
    assert [name for name, service in SERVICES.items() if "mem_limit" not in service] == []
    own = set(SERVICES) - {"valkey", "postgres"}
    assert {n for n in own if "no-new-privileges:true" not in SERVICES[n].get("security_opt", [])} == set()
    assert {n for n in own if SERVICES[n].get("cap_drop") != ["ALL"]} == set()


def test_no_password_is_written_down() -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    for name in ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "GRAFANA_PASSWORD"):
        assert f"${{{name}:?" in text
        assert f"\n{name}=\n" in (DOCKER / ".env.example").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(n for n, service in SERVICES.items() if "build" in service))
def test_the_environment_is_of_valid_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by the program itself, with the values of the example; an unknown name would stop the start."""
    for variable, value in resolved(SERVICES[name]["environment"], example_environment()).items():
        monkeypatch.setenv(variable, value)
    settings = read_settings()
    assert settings.redis_url == "redis://:secret@valkey:6379/0"
    assert settings.ledger_url.startswith("postgresql://trimtab:secret@postgres")


def test_files_that_are_mounted_exist() -> None:
    files = [mount for mount in mounts() if mount.startswith((".", ".."))]
    assert len(files) >= 7
    assert [file for file in files if not (DOCKER / file).exists()] == []


def test_services_that_are_named_exist() -> None:
    """Hosts in addresses, in nginx's, Prometheus' and Alertmanager's files."""
    texts = [str(resolved(SERVICES, example_environment()))]
    texts += [(DOCKER / name).read_text(encoding="utf-8") for name in ("nginx.conf", "alertmanager.yml")]
    texts.append((DOCKER / "grafana/datasources.yaml").read_text(encoding="utf-8"))
    hosts = set(re.findall(r"(?:http|redis|postgresql)://(?:[\w:]*@)?([a-z0-9]+):\d+", "\n".join(texts)))
    assert {"api", "nginx", "valkey", "postgres", "prometheus", "s3"} <= hosts <= set(SERVICES)
    scraped = yaml.safe_load((DOCKER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert {name for job in scraped for name in job["dns_sd_configs"][0]["names"]} == {
        "api", "worker", "worker-gpu", "monitor",
    }  # fmt: skip


def test_ports_of_metrics_are_those_of_the_images() -> None:
    dockerfile = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    jobs = yaml.safe_load((DOCKER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    ports = {job["job_name"]: job["dns_sd_configs"][0]["port"] for job in jobs}
    assert set(map(str, ports.values())) == set(re.findall(r"^EXPOSE (\d+)", dockerfile, re.MULTILINE))


def test_the_key_of_prometheus_suffices_and_no_more() -> None:
    command = SERVICES["scrape-key"]["command"][0]
    roles = set(re.search(r"--roles (\S+)", command)[1].split(","))  # type: ignore[index]
    called = {needed_role("GET", "/metrics"), needed_role("POST", "/admin/v1/alerts")}
    assert roles == {str(role) for role in called}
    assert ("GET", "/metrics", Role.READ) in RULES


def test_alerts_that_go_to_the_api_exist_and_meet_a_route() -> None:
    config = yaml.safe_load((DOCKER / "alertmanager.yml").read_text(encoding="utf-8"))
    rules = (ROOT / "monitoring/prometheus/rules.yml").read_text(encoding="utf-8")
    for name in re.findall(r"Trimtab\w+", str(config["route"]["routes"][0]["matchers"])):
        assert f"alert: {name}\n" in rules
    (hook,) = config["receivers"][1]["webhook_configs"]
    assert hook["url"].partition("8080")[2] in create_app(Settings()).openapi()["paths"]


def test_nginx_lets_through_what_the_api_takes() -> None:
    config = (DOCKER / "nginx.conf").read_text(encoding="utf-8")
    largest = int(re.search(r"client_max_body_size (\d+)m;", config)[1]) * 1_000_000  # type: ignore[index]
    assert largest > Settings().server.max_stream_bytes
    assert re.search(r"location /admin/ \{[^}]*proxy_next_upstream error;", config)


def test_containers_are_stopped_later_than_they_drain() -> None:
    assert int(SERVICES["api"]["stop_grace_period"].removesuffix("s")) > Settings().server.drain_s


@pytest.mark.system
def test_nginx_understands_its_file() -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed: tests/system/install.sh installs it")
    assert said(nginx, "-t", "-q", "-c", DOCKER / "nginx.conf") == ""


def test_the_key_of_prometheus_is_made_once(tmp_path: Path) -> None:
    """The service's own command line, by a real shell: a second start keeps the key."""
    line = SERVICES["scrape-key"]["command"][0].replace("/scrape/", f"{tmp_path}/")
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "TRIMTAB_HOME": str(tmp_path / "home")}
    for _ in range(2):
        subprocess.run([*SERVICES["scrape-key"]["entrypoint"], line], env=environment, check=True)
    token = (tmp_path / "token").read_text(encoding="ascii").strip()
    ledger = Ledger(f"sqlite:///{tmp_path}/home/ledger.db")
    with ledger.read() as tx:
        (key,) = keys.live_keys(tx).items()
    ledger.close()
    assert key[0] == hashlib.sha256(token.encode()).digest()
    assert key[1].roles == {"read", "operate"}
