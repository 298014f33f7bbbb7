from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection

from tests.fixtures.ledgers import add_version, digest_of
from trimtab.errors import (
    AliasNotFound,
    AlreadyExists,
    GenerationMismatch,
    ModelNotFound,
    NothingToRollBack,
    VersionNotFound,
    VersionRefused,
)
from trimtab.ledger import events, examples, models, versions
from trimtab.ledger.examples import Example
from trimtab.ledger.versions import VersionState

BY: dict[str, Any] = {"actor": "ada", "reason": "because"}


def state_of(tx: Connection, model: str, n: int) -> VersionState:
    return versions.get_version(tx, model, n).state


def generation(tx: Connection, model: str) -> int:
    return models.get_model(tx, model).generation


def probation_example(model: str, version: int) -> Example:
    key = f"key-{version}"
    return Example(model=model, domain="d", role="memory", text="t", key=key, version=version, probation=True)


class TestReserve:
    def test_a_job_gets_the_next_number_and_the_same_again(self, tx: Connection, model: str):
        assert versions.reserve_version(tx, model, "job-1") == 4
        assert versions.reserve_version(tx, model, "job-1") == 4
        assert versions.reserve_version(tx, model, "job-2") == 5
        reserved = versions.get_version(tx, model, 4)
        assert (reserved.state, reserved.digest, reserved.job_id) == (VersionState.RESERVED, None, "job-1")

    def test_a_reserved_version_cannot_be_served(self, tx: Connection, model: str):
        n = versions.reserve_version(tx, model, "job-1")
        with pytest.raises(VersionRefused, match="has no files yet"):
            versions.promote(tx, model, n, **BY, force=True)

    def test_an_unknown_model_gets_none(self, tx: Connection):
        with pytest.raises(ModelNotFound):
            versions.reserve_version(tx, "nothing", "job-1")


class TestRecord:
    def test_a_reserved_version_is_filled_in(self, tx: Connection, model: str):
        n = versions.reserve_version(tx, model, "job-1")
        recorded = versions.record_version(
            tx,
            model,
            n,
            digest_of(n),
            1,
            VersionState.REJECTED,
            manifest={"seed": 7},
            gate={"forgetting": {"passed": False}},
            reason="forgets",
        )
        assert recorded == versions.get_version(tx, model, n)
        assert (recorded.digest, recorded.parent, recorded.job_id) == (digest_of(n), 1, "job-1")
        assert (recorded.state, recorded.reason) == (VersionState.REJECTED, "forgets")
        assert (recorded.manifest, recorded.gate) == ({"seed": 7}, {"forgetting": {"passed": False}})

    def test_the_same_again_changes_nothing(self, tx: Connection, model: str):
        before = versions.list_versions(tx, model)
        add_version(tx, model, 2, VersionState.REJECTED)
        assert versions.list_versions(tx, model) == before

    def test_a_number_holds_one_digest(self, tx: Connection, model: str):
        with pytest.raises(AlreadyExists, match="Version 2"):
            versions.record_version(tx, model, 2, digest_of(9), 1, VersionState.ACCEPTED, manifest={})

    def test_versions_are_listed_by_number(self, tx: Connection, model: str):
        assert [version.n for version in versions.list_versions(tx, model)] == [1, 2, 3]
        assert versions.list_versions(tx, "nothing") == []

    def test_unknown_things_are_named(self, tx: Connection, model: str):
        with pytest.raises(VersionNotFound, match="no version 9"):
            versions.get_version(tx, model, 9)
        with pytest.raises(ModelNotFound):
            versions.record_version(tx, "nothing", 1, digest_of(1), None, VersionState.ACCEPTED, manifest={})


class TestPromote:
    def test_the_old_champion_becomes_previous(self, tx: Connection, model: str):
        assert versions.promote(tx, model, 2, **BY) == 2 == generation(tx, model)
        assert versions.get_aliases(tx, model) == {"champion": 2, "previous": 1}
        event = events.list_events(tx)[-1]
        assert (event.kind, event.actor) == ("promoted", "ada")
        assert event.detail == {"version": 2, "previous": 1, "reason": "because", "generation": 2}

    def test_promoting_the_champion_changes_nothing(self, tx: Connection, model: str):
        n_events = len(events.list_events(tx))
        assert versions.promote(tx, model, 1, **BY) == 1
        assert versions.get_aliases(tx, model) == {"champion": 1}
        assert len(events.list_events(tx)) == n_events

    def test_a_stale_generation_is_refused(self, tx: Connection, model: str):
        versions.promote(tx, model, 2, **BY, expected_generation=1)
        with pytest.raises(GenerationMismatch):
            versions.promote(tx, model, 3, **BY, expected_generation=1)
        assert versions.get_aliases(tx, model)["champion"] == 2

    @pytest.mark.parametrize("state", [VersionState.REJECTED, VersionState.QUARANTINED])
    def test_what_was_refused_is_served_by_force_only(self, tx: Connection, model: str, state: VersionState):
        add_version(tx, model, 4, state)
        with pytest.raises(VersionRefused, match=f"is {state}"):
            versions.promote(tx, model, 4, **BY)
        assert versions.promote(tx, model, 4, **BY, force=True) == 2
        assert state_of(tx, model, 4) is VersionState.ACCEPTED

    def test_a_held_version_is_accepted_by_promoting_it(self, tx: Connection, model: str):
        add_version(tx, model, 4, VersionState.HELD)
        versions.promote(tx, model, 4, **BY)
        assert state_of(tx, model, 4) is VersionState.ACCEPTED

    def test_unknown_things_are_named(self, tx: Connection, model: str):
        with pytest.raises(VersionNotFound):
            versions.promote(tx, model, 9, **BY)
        with pytest.raises(ModelNotFound):
            versions.promote(tx, "nothing", 1, **BY)


class TestSetAlias:
    def test_every_change_counts_the_generation_up(self, tx: Connection, model: str):
        assert versions.set_alias(tx, model, "challenger", 2, **BY) == 2
        assert versions.set_alias(tx, model, "challenger", 2, **BY) == 2
        assert versions.set_alias(tx, model, "challenger", 3, **BY, expected_generation=2) == 3
        assert versions.get_aliases(tx, model) == {"champion": 1, "challenger": 3}
        assert events.list_events(tx)[-1].detail["alias"] == "challenger"

    def test_champion_promotes(self, tx: Connection, model: str):
        versions.set_alias(tx, model, "champion", 2, **BY)
        assert versions.get_aliases(tx, model) == {"champion": 2, "previous": 1}

    def test_refusals(self, tx: Connection, model: str):
        add_version(tx, model, 4, VersionState.REJECTED)
        with pytest.raises(VersionRefused):
            versions.set_alias(tx, model, "challenger", 4, **BY)
        with pytest.raises(GenerationMismatch):
            versions.set_alias(tx, model, "challenger", 2, **BY, expected_generation=0)
        with pytest.raises(VersionNotFound):
            versions.set_alias(tx, model, "challenger", 9, **BY)
        assert versions.set_alias(tx, model, "challenger", 4, **BY, force=True) == 2
        assert state_of(tx, model, 4) is VersionState.REJECTED  # compared, not accepted

    def test_an_alias_can_be_dropped_but_not_the_champion(self, tx: Connection, model: str):
        versions.set_alias(tx, model, "baseline", 2, **BY)
        assert versions.drop_alias(tx, model, "baseline", **BY, expected_generation=2) == 3
        assert versions.get_aliases(tx, model) == {"champion": 1}
        with pytest.raises(AliasNotFound, match="'baseline'"):
            versions.drop_alias(tx, model, "baseline", **BY)
        with pytest.raises(VersionRefused, match="cannot be removed"):
            versions.drop_alias(tx, model, "champion", **BY)


class TestRollback:
    def test_previous_serves_again_and_is_previous_no_longer(self, tx: Connection, model: str):
        versions.promote(tx, model, 2, **BY)
        examples.add_examples(tx, [probation_example(model, 1), probation_example(model, 2)])
        assert versions.rollback(tx, model, **BY) == 1
        assert versions.get_aliases(tx, model) == {"champion": 1}
        assert generation(tx, model) == 3
        rolled_back = versions.get_version(tx, model, 2)
        assert (rolled_back.state, rolled_back.reason) == (VersionState.ROLLED_BACK, "because")
        assert examples.keys(tx, model, ["memory"]) == {"key-1"}
        event = events.list_events(tx)[-1]
        assert (event.kind, event.detail["version"], event.detail["rolled_back"]) == ("rolled_back", 1, 2)

    def test_a_second_rollback_has_nowhere_to_go(self, tx: Connection, model: str):
        versions.promote(tx, model, 2, **BY)
        versions.rollback(tx, model, **BY)
        with pytest.raises(NothingToRollBack):
            versions.rollback(tx, model, **BY)
        assert versions.get_aliases(tx, model) == {"champion": 1}

    def test_to_a_named_version(self, tx: Connection, model: str):
        versions.promote(tx, model, 2, **BY)
        versions.promote(tx, model, 3, **BY)
        assert versions.rollback(tx, model, **BY, to=1) == 1
        assert versions.get_aliases(tx, model) == {"champion": 1}
        assert (state_of(tx, model, 3), state_of(tx, model, 2)) == (
            VersionState.ROLLED_BACK,
            VersionState.ACCEPTED,
        )

    def test_refusals(self, tx: Connection, model: str):
        add_version(tx, model, 4, VersionState.QUARANTINED)
        with pytest.raises(VersionRefused):
            versions.rollback(tx, model, **BY, to=4)
        with pytest.raises(VersionNotFound):
            versions.rollback(tx, model, **BY, to=9)
        with pytest.raises(NothingToRollBack):
            versions.rollback(tx, model, **BY, to=1)
        versions.promote(tx, model, 2, **BY)
        with pytest.raises(GenerationMismatch):
            versions.rollback(tx, model, **BY, expected_generation=1)

    def test_a_model_without_champion(self, tx: Connection):
        models.create_model(tx, "new", ["a", "b"], "base", "d")
        with pytest.raises(NothingToRollBack):
            versions.rollback(tx, "new", **BY)

    def test_a_version_that_was_rolled_back_can_be_promoted_again(self, tx: Connection, model: str):
        versions.promote(tx, model, 2, **BY)
        versions.rollback(tx, model, **BY)
        versions.promote(tx, model, 2, **BY)
        assert state_of(tx, model, 2) is VersionState.ACCEPTED
        assert versions.get_aliases(tx, model) == {"champion": 2, "previous": 1}


class TestQuarantine:
    def test_a_champion_gives_way_to_previous(self, tx: Connection, model: str):
        versions.promote(tx, model, 2, **BY)
        examples.add_examples(tx, [probation_example(model, 2)])
        versions.quarantine(tx, model, 2, reason="digest differs", replica="replica-1")
        assert versions.get_aliases(tx, model) == {"champion": 1}
        assert generation(tx, model) == 3
        version = versions.get_version(tx, model, 2)
        assert (version.state, version.reason) == (VersionState.QUARANTINED, "digest differs")
        assert examples.keys(tx, model, ["memory"]) == set()
        event = events.list_events(tx)[-1]
        assert (event.kind, event.actor, event.detail["champion"]) == ("quarantined", "replica-1", 1)

    def test_the_second_replica_that_says_so_changes_nothing(self, tx: Connection, model: str):
        versions.promote(tx, model, 2, **BY)
        versions.quarantine(tx, model, 2, reason="first", replica="replica-1")
        n_events = len(events.list_events(tx))
        versions.quarantine(tx, model, 2, reason="second", replica="replica-2")
        assert versions.get_version(tx, model, 2).reason == "first"
        assert (generation(tx, model), len(events.list_events(tx))) == (3, n_events)

    def test_other_aliases_are_taken_off(self, tx: Connection, model: str):
        versions.promote(tx, model, 2, **BY)
        versions.set_alias(tx, model, "baseline", 1, **BY)
        versions.quarantine(tx, model, 1, reason="bad", replica="replica-1")
        assert versions.get_aliases(tx, model) == {"champion": 2}
        assert generation(tx, model) == 4
        with pytest.raises(NothingToRollBack):
            versions.rollback(tx, model, **BY)

    def test_the_only_champion_stays_named(self, tx: Connection, model: str):
        versions.quarantine(tx, model, 1, reason="bad", replica="replica-1")
        assert versions.get_aliases(tx, model) == {"champion": 1}
        assert state_of(tx, model, 1) is VersionState.QUARANTINED
        assert generation(tx, model) == 1

    def test_a_version_without_alias_leaves_the_generation(self, tx: Connection, model: str):
        versions.quarantine(tx, model, 3, reason="bad", replica="replica-1")
        assert generation(tx, model) == 1
        with pytest.raises(VersionNotFound):
            versions.quarantine(tx, model, 9, reason="bad", replica="replica-1")


class TestServed:
    def test_every_alias_with_its_version_and_without_large_members(self, tx: Connection, model: str):
        versions.promote(tx, model, 2, **BY)
        versions.set_alias(tx, model, "baseline", 1, **BY)
        served = versions.served_versions(tx)[model]
        assert {alias: version.n for alias, version in served.items()} == versions.get_aliases(tx, model)
        whole = versions.get_version(tx, model, 2)
        found = served["champion"]
        assert (found.model, found.digest, found.state, found.reason) == (
            model, whole.digest, whole.state, whole.reason,
        )  # fmt: skip
        assert served["previous"] == served["baseline"]
        assert not {"manifest", "gate"} & set(vars(found))

    def test_a_model_without_aliases_is_not_there(self, tx: Connection):
        models.create_model(tx, "empty", ("a", "b"), "base", "0" * 64)
        assert "empty" not in versions.served_versions(tx)

    def test_another_models_version_of_the_same_number_is_another(self, tx: Connection, model: str):
        models.create_model(tx, "other", ("a", "b"), "base", "0" * 64)
        add_version(tx, "other", 1)
        versions.promote(tx, "other", 1, **BY)
        served = versions.served_versions(tx)
        assert served["other"]["champion"].model == "other"
        assert served[model]["champion"].model == model


def test_a_pin_moves_with_the_champion(tx: Connection, model: str):
    versions.set_alias(tx, model, versions.PINNED, 1, **BY)
    versions.promote(tx, model, 2, **BY)
    assert versions.get_aliases(tx, model) == {"champion": 2, "previous": 1, "pinned": 2}
    versions.rollback(tx, model, **BY)
    assert versions.get_aliases(tx, model) == {"champion": 1, "pinned": 1}
    versions.drop_alias(tx, model, versions.PINNED, **BY)
    versions.promote(tx, model, 3, **BY)
    assert versions.PINNED not in versions.get_aliases(tx, model)
