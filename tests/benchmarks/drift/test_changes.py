"""The drifts: each does what its name says, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drift.changes import (
    CHANGES,
    GRADUAL_EVENTS,
    World,
    accuracy_drop,
    change_named,
    gradual,
    label_mix,
    mean_shift,
    pure_rows,
    rotation,
    unseen,
)
from benchmarks.drift.corpus import LAYERS, SOURCE
from trimtab.features import Integers


@pytest.fixture
def pool(world: World) -> Integers:
    return world.corpus.fresh(SOURCE)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([51, seed])


def test_a_mean_shift_moves_a_tenth_of_the_dimensions(world: World, pool: Integers) -> None:
    drawn = mean_shift(0.5)(world, pool, 1000, random())
    assert drawn.states is not None
    for layer in LAYERS:
        moved = drawn.states[layer] - world.corpus.states[layer][drawn.index]
        expected = 0.5 * world.spreads[layer]
        changed = np.abs(moved).max(axis=0) > 0
        assert changed.sum() == round(0.1 * moved.shape[1])
        np.testing.assert_allclose(
            moved[:, changed], np.broadcast_to(expected[changed], (1000, changed.sum())), rtol=1e-4
        )


def test_a_rotation_keeps_lengths_and_turns_by_its_angle(world: World, pool: Integers) -> None:
    drawn = rotation(45)(world, pool, 500, random())
    assert drawn.states is not None
    before = world.corpus.states["last"][drawn.index] - world.means["last"]
    after = drawn.states["last"] - world.means["last"]
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), rtol=1e-4)
    cosine = (before * after).sum(axis=1) / np.square(before).sum(axis=1)
    np.testing.assert_allclose(cosine, np.cos(np.radians(45)), atol=1e-4)  # 8 planes hold all 16 dimensions


def test_a_moved_state_changes_the_outputs(world: World, pool: Integers) -> None:
    change = change_named("rotation 45°")
    drawn = change.draw(world, pool, 200, random())
    names = world.corpus.maps["last"].names
    rows, recorded = change.rows(world, drawn, "last"), world.rows["last"][drawn.index]
    assert np.abs(rows - recorded)[:, names.index("max_prob")].max() > 0.05
    np.testing.assert_array_equal(rows[:, names.index("n_tokens")], recorded[:, names.index("n_tokens")])


def test_a_label_mix_has_its_share_of_positive_texts(world: World, pool: Integers) -> None:
    drawn = label_mix(0.8)(world, pool, 2000, random())
    share = world.corpus.truth[drawn.index].mean()
    assert abs(share - 0.8) < 4 * np.sqrt(0.16 / 2000)
    assert drawn.states is None


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_an_unseen_domain_has_its_share(world: World, pool: Integers, share: float) -> None:
    drawn = unseen("nyt", share)(world, pool, 2000, random())
    found = (world.corpus.domains[drawn.index] == "nyt").mean()
    assert abs(found - share) <= 4 * np.sqrt(share * (1 - share) / 2000)
    assert set(world.corpus.domains[drawn.index]) <= {"nyt", SOURCE}


def test_a_gradual_change_grows_evenly(world: World, pool: Integers) -> None:
    drawn = gradual("tweets")(world, pool, GRADUAL_EVENTS, random())
    new = world.corpus.domains[drawn.index] == "tweets"
    for i, quarter in enumerate(np.split(new, 4)):
        expected = (2 * i + 1) / 8
        assert abs(quarter.mean() - expected) < 4 * np.sqrt(0.25 / len(quarter))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_every_change_can_be_drawn_behind_a_reference_and_a_warm_up(world: World, change) -> None:
    left = random(1).permutation(world.corpus.fresh(SOURCE))[4000:8570]
    drawn = change.draw(world, left, change.horizon, random(2))
    assert len(drawn.index) == change.horizon
    assert len(set(drawn.index)) == change.horizon  # without replacement
    assert set(drawn.index[world.corpus.domains[drawn.index] == SOURCE]) <= set(left)
    assert change.rows(world, drawn, "embedding").shape == (change.horizon, world.rows["last"].shape[1])


def test_the_accuracy_that_a_change_costs(world: World) -> None:
    """Domains differ in dimensions that the head does not look at; a rotation turns the one that it looks at."""
    assert abs(accuracy_drop(change_named("amazon 100 %"), world)[0]) < 100 * 5 * np.sqrt(
        0.977 * 0.023 / 2900
    )
    assert accuracy_drop(change_named("rotation 45°"), world)[0] > 1


def test_what_is_new_after_a_mixture_is_the_new_part_alone(world: World) -> None:
    new, mixture = (pure_rows(change_named(f"nyt {share} %"), world, "last") for share in (100, 10))
    np.testing.assert_array_equal(new, mixture)


def test_names_are_unique_and_an_unknown_one_is_refused() -> None:
    assert len({change.name for change in CHANGES}) == len(CHANGES)
    with pytest.raises(KeyError):
        change_named("earthquake")
