from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from trimtab.settings import GateSettings
from workers.gate.data import data_checks, suspects
from workers.gate.verdict import Check, Result
from workers.poisoning import DataReport

SETTINGS = GateSettings()


def report(clients: dict[str, int], contradictions: dict[str, int], **more: Any) -> DataReport:
    given: dict[str, Any] = {"n": sum(clients.values()), "n_labels": 2} | more
    return DataReport(clients=clients, contradictions=contradictions, **given)


def check(data: DataReport, name: str, settings: GateSettings = SETTINGS) -> Check:
    return next(each for each in data_checks(data, settings) if each.name == name)


EVEN = {"a": 40, "b": 40, "c": 40, "d": 40, "e": 40}


def test_sound_rows_pass_every_check() -> None:
    found = data_checks(report(EVEN, dict.fromkeys(EVEN, 10), class_distance=0.1), SETTINGS)
    assert [each.name for each in found] == ["data:labels", "data:clients", "data:duplicates", "data:classes"]
    assert all(each.result is Result.PASS for each in found)


def test_without_a_window_to_compare_with_classes_are_not_judged() -> None:
    assert len(data_checks(report(EVEN, {}), SETTINGS)) == 3


def flipped_by(who: str, clients: dict[str, int]) -> DataReport:
    """A champion that is right 85 % of the time, and clients whose every label is flipped; four times as many rows."""
    shares = {client: 0.85 if client in who else 0.15 for client in clients}
    big = {client: 4 * n for client, n in clients.items()}
    return report(big, {client: round(shares[client] * n) for client, n in big.items()})


@pytest.mark.parametrize("clients", [{"a": 100, "b": 100}, EVEN])
def test_one_client_among_others_that_flips_is_refused(clients: dict[str, int]) -> None:
    found = check(flipped_by("a", clients), "data:labels")
    assert found.result is Result.FAIL
    assert "of 'a' contradict the champion; they are flipped" in found.detail


def test_suspects_are_the_clients_that_the_check_of_labels_does_not_pass() -> None:
    assert suspects(flipped_by("a", EVEN), 0.05) == {"a"}
    assert suspects(flipped_by("ab", EVEN), 0.05) == {"a", "b"}
    odd = report({"a": 100, "b": 100, "c": 100}, {"a": 50, "b": 5, "c": 5})
    assert check(odd, "data:labels").result is Result.INSUFFICIENT
    assert suspects(odd, 0.05) == {"a"}


def test_nobody_is_suspected_where_the_check_passes() -> None:
    assert suspects(flipped_by("", EVEN), 0.05) == suspects(flipped_by("abc", EVEN), 0.05) == frozenset()
    assert suspects(None, 0.05) == frozenset()


@pytest.mark.parametrize("clients", [{"a": 200}, {"a": 100, "b": 100}])
def test_where_nobody_says_otherwise_the_detail_does(clients: dict[str, int]) -> None:
    """A service with one client must still adapt."""
    found = check(flipped_by("ab", clients), "data:labels")
    assert found.result is Result.PASS
    assert "their meaning changed, or they are flipped" in found.detail


def test_many_small_clients_together_say_otherwise() -> None:
    """The only client with enough rows flips all of its labels; ten others have nine rows each."""
    small = {f"c{i}": 9 for i in range(10)}
    found = check(report({"x": 90, **small}, {"x": 80, **dict.fromkeys(small, 2)}), "data:labels")
    assert found.result is Result.FAIL


def test_what_most_of_several_clients_say_is_a_change_of_meaning() -> None:
    assert check(flipped_by("abc", EVEN), "data:labels").result is Result.PASS
    assert check(flipped_by("ab", EVEN), "data:labels").result is Result.FAIL


@pytest.mark.parametrize("clients", [{"a": 200}, EVEN])
def test_a_hard_domain_is_not_flipped(clients: dict[str, int]) -> None:
    """The champion is right half of the time, for everybody: that is what adaptation is for."""
    found = check(report(clients, {client: n // 2 for client, n in clients.items()}), "data:labels")
    assert found.result is Result.PASS


def test_one_client_that_stands_out_waits_for_a_person() -> None:
    found = check(report(EVEN, dict.fromkeys(EVEN, 4) | {"a": 24}), "data:labels")
    assert found.result is Result.INSUFFICIENT
    assert found.limit == 0.3
    assert "a person should look" in found.detail


def test_a_client_of_few_rows_is_not_judged() -> None:
    assert check(report(EVEN | {"x": 19}, {"x": 19}), "data:labels").result is Result.PASS


@pytest.mark.parametrize("n_labels", [2, 5])
def test_knowing_nothing_is_taken_for_poison_rarely(n_labels: int) -> None:
    rng = np.random.default_rng(3)
    draws, stopped = 300, 0
    for _ in range(draws):
        wrong = {client: int(rng.binomial(n, 1 - 1 / n_labels)) for client, n in EVEN.items()}
        found = check(report(EVEN, wrong, n_labels=n_labels), "data:labels")
        assert found.result is not Result.FAIL
        stopped += found.result is Result.INSUFFICIENT
    assert stopped <= binom.ppf(0.999, draws, 0.05)


def test_a_client_that_dominates_holds_and_the_limit_may_be_lifted() -> None:
    dominated = report({"a": 100, "b": 30, "c": 30, "d": 20, "e": 20}, {}, capped=40)
    found = check(dominated, "data:clients")
    assert found.result is Result.INSUFFICIENT
    assert "40 were left out" in found.detail
    assert check(dominated, "data:clients", GateSettings(max_client_share=1.0)).result is Result.PASS


@pytest.mark.parametrize("clients", [{"a": 200}, {"a": 199, "b": 1}, {}])
def test_one_client_or_two_may_send_everything(clients: dict[str, int]) -> None:
    assert check(report(clients, {}), "data:clients").result is Result.PASS


def test_three_clients_may_have_a_third_each() -> None:
    assert check(report({"a": 50, "b": 50, "c": 50}, {}), "data:clients").result is Result.PASS
    assert check(report({"a": 60, "b": 50, "c": 50}, {}), "data:clients").result is Result.INSUFFICIENT


def test_copies_hold() -> None:
    assert check(report({"a": 100}, {}, duplicates=10), "data:duplicates").result is Result.PASS
    assert check(report({"a": 100}, {}, duplicates=11), "data:duplicates").result is Result.INSUFFICIENT


def test_labels_of_one_class_only_hold() -> None:
    assert check(report(EVEN, {}, class_distance=0.5), "data:classes").result is Result.INSUFFICIENT
