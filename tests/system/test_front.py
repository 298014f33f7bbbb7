"""nginx, by the compose file's own configuration, in front of two live replicas that stop, die and come back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from scipy.stats import binom

from service.client import ApiClient
from service.demo.machine import free_port
from service.valkey import ValkeyServer
from tests.fixtures.deployment import flushed
from tests.fixtures.fleets import READY_S, Fleet, Member, is_ready, running_fleet
from tests.fixtures.front import nginx_binary, running_nginx
from tests.fixtures.loads import Load
from tests.fixtures.toy_texts import toy_rows
from tests.fixtures.workshops import toy_shop, wait_until
from trimtab.settings import LedgerSettings, ServerSettings, SigningSettings, StoreSettings

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]
# As containers of one service have: the same port, an address each.
HOSTS = ("127.0.0.2", "127.0.0.3")
CLIENTS = 4


class Front:
    """nginx's address and the replicas behind it."""

    def __init__(self, fleet: Fleet, url: str, port: int) -> None:
        self.fleet, self.url, self._port = fleet, url, port
        self.replicas = [self.start(host) for host in HOSTS]

    def start(self, host: str) -> Member:
        return self.fleet.start("serve", (host, self._port))

    def start_again(self, index: int) -> None:
        self.replicas[index] = self.start(HOSTS[index])

    def wait_for_all(self) -> None:
        for replica in self.replicas:
            wait_until(replica.ready, "readiness", READY_S)

    def load(self) -> Load:
        return Load([self.url] * CLIENTS)


@pytest.fixture(scope="module")
def front(
    tmp_path_factory: pytest.TempPathFactory, tiny_base_dir: Path, valkey: ValkeyServer
) -> Iterator[Front]:
    binary = nginx_binary()
    if binary is None:
        pytest.skip("nginx is not installed: tests/system/install.sh installs it")
    directory, port = tmp_path_factory.mktemp("front"), free_port()
    groups = {
        "ledger": LedgerSettings(url=f"sqlite:///{directory}/ledger.db"),
        "store": StoreSettings(url=f"file://{directory}/store"),
        "signing": SigningSettings(private_key=directory / "signing.pem", public_key=directory / "verify.pem"),
        "server": ServerSettings(poll_s=0.2),
    }  # fmt: skip
    with toy_shop(directory / "home", tiny_base_dir, flushed(valkey.url), **groups) as toy:
        toy.create_first(toy_rows("film", 200), epochs=1)
        with (
            running_fleet(toy, directory, {}, replicas=0, workers=0, monitors=0) as (fleet, _),
            running_nginx(binary, directory, HOSTS, port) as url,
        ):
            front = Front(fleet, url, port)
            front.wait_for_all()
            wait_until(lambda: is_ready(url), "nginx")
            yield front


def answered(replica: Member) -> float:
    """Predictions that a replica counts."""
    text = httpx.get(f"{replica.url}/metrics", trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith("trimtab_predictions_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def more_answers(load: Load, n: int = 40) -> None:
    """Waits for n answers from now on."""
    enough = len(load.answers) + n
    wait_until(lambda: len(load.answers) >= enough or load.failures, "answers", READY_S)


def test_requests_are_spread(front: Front) -> None:
    """nginx draws the first replica of each request: both answer within a band that a fair draw leaves once in 10⁹."""
    before = [answered(replica) for replica in front.replicas]
    with ApiClient(front.url) as client:
        n = 80
        for _ in range(n):
            client.predict("toy", ["good film"], sample=False)
    counts = [answered(replica) - seen for replica, seen in zip(front.replicas, before, strict=True)]
    assert sum(counts) == n
    assert min(counts) >= binom.ppf(1e-9 / 2, n, 0.5)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_a_replica_that_stops_and_comes_back_costs_no_request(front: Front, how: signal.Signals) -> None:
    """Under load from the stop to readiness again: what was under way is answered, what comes goes to the other."""
    gone = front.replicas[1]
    with front.load() as load:
        more_answers(load)
        gone.process.send_signal(how)
        gone.process.wait(60)
        more_answers(load)
        front.start_again(1)
        front.wait_for_all()
        more_answers(load)
    assert load.failures == []
    assert gone.process.returncode == -how
    in_order = "Application shutdown complete" in gone.log.read_text(encoding="utf-8")
    assert in_order == (how is signal.SIGTERM)
    assert answered(front.replicas[1]) > 0


def test_orders_reach_the_replica_that_is_left(front: Front) -> None:
    front.replicas[0].kill()
    with ApiClient(front.url) as client:
        for _ in range(20):
            assert client.call("GET", "/admin/v1/replicas")["replicas"] is not None
    front.start_again(0)
    front.wait_for_all()
