"""The detector: exact windows, indifferent to order inside a block, the same after a crash, flat in memory."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.detector import Detector, Look, Reading, Windows
from monitoring.histograms import bin_rows, count, distribution, ks_binned
from monitoring.mixture import MIXTURE, KnownDomains, hypotheses, know_domains

D = 5
WINDOWS = Windows(block=10, short=30, long=80)
RANDOM = np.random.default_rng(0)
ONE = know_domains({"a": RANDOM.normal(size=(400, D)).astype(np.float32)})
TWO = know_domains({"a": ONE.rows[0], "b": (ONE.rows[0] * 1.3 + 1.0).astype(np.float32)})


def stream(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, D)) + shift).astype(np.float32)


def fed(known: KnownDomains, rows: np.ndarray) -> Detector:
    detector = Detector(known, WINDOWS)
    detector.take(rows)
    return detector


def same(one: Reading, other: Reading) -> bool:
    """Bit for bit."""
    looks = [(*each.short, *(each.long or ())) for each in (one, other)]
    pairs = list(zip(*looks, strict=True))
    return (
        one.e_detector == other.e_detector
        and (one.long is None) == (other.long is None)
        and all(a.ks.tolist() == b.ks.tolist() for a, b in pairs)
        and all(a.hypothesis.weights.tolist() == b.hypothesis.weights.tolist() for a, b in pairs)
    )


def check_looks(known: KnownDomains, looks: tuple[Look, ...], rows: np.ndarray) -> None:
    window = distribution(count(bin_rows(known.edges, rows)))
    for look, expected in zip(looks, hypotheses(known, window), strict=True):
        assert look.hypothesis.name == expected.name
        assert look.ks.tolist() == ks_binned(window, expected.distribution).tolist()
        assert look.energy == float(np.square(look.ks).sum())
        assert look.max_ks == look.ks.max()


@pytest.mark.parametrize("known", [ONE, TWO], ids=["one domain", "two domains"])
@pytest.mark.parametrize("blocks", [3, 5, 8, 21])
def test_windows_are_those_of_the_newest_rows(known: KnownDomains, blocks: int) -> None:
    rows = stream(10 * blocks, seed=1)
    reading = fed(known, rows).read()
    check_looks(known, reading.short, rows[-30:])
    assert (reading.long is None) == (blocks < 8)
    if reading.long is not None:
        check_looks(known, reading.long, rows[-80:])


def test_before_a_window_is_full_it_says_nothing() -> None:
    detector = Detector(ONE, WINDOWS)
    assert (detector.full, detector.n_events, detector.rows.shape) == (False, 0, (0, D))
    assert detector.read() == Reading(e_detector=-math.inf, short=(), long=None)
    told = []
    for n in (20, 10, 50):
        detector.take(stream(n, seed=n))
        told.append((detector.full, bool(detector.read().short), detector.read().long is not None))
    assert told == [(False, False, False), (True, True, False), (True, True, True)]


def test_it_keeps_the_raw_rows_of_the_long_window() -> None:
    rows = stream(230, seed=5)
    detector = fed(ONE, rows)
    np.testing.assert_array_equal(detector.rows, rows[-80:])
    assert detector.n_events == 80
    rows[:] = 0.0
    assert (detector.rows != 0.0).any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), known=st.sampled_from([ONE, TWO]))
def test_order_inside_a_block_does_not_matter(seed: int, known: KnownDomains) -> None:
    random = np.random.default_rng(seed)
    rows = stream(120, seed)
    shuffled = np.concatenate([random.permutation(block) for block in rows.reshape(-1, 10, D)])
    one, other = fed(known, rows), fed(known, shuffled)
    assert same(one.read(), other.read())
    assert one.log_m.tolist() == other.log_m.tolist()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 15), max_size=5), known=st.sampled_from([ONE, TWO]))
def test_how_blocks_are_handed_over_does_not_matter(cuts: list[int], known: KnownDomains) -> None:
    rows, detector = stream(150, seed=6), Detector(known, WINDOWS)
    for part in np.split(rows, [10 * cut for cut in sorted(cuts)]):
        detector.take(part)
    assert same(detector.read(), fed(known, rows).read())


@settings(max_examples=30, deadline=None)
@given(crash=st.integers(0, 20), after=st.integers(0, 20), known=st.sampled_from([ONE, TWO]))
def test_a_crash_leaves_no_trace(crash: int, after: int, known: KnownDomains) -> None:
    before, later = stream(10 * crash, seed=7), stream(10 * after, seed=8, shift=0.3)
    survivor = fed(known, before)
    restored = Detector.restore(known, WINDOWS, before[-80:], survivor.log_m)
    for detector in (survivor, restored):
        detector.take(later)
    assert same(restored.read(), survivor.read())
    assert restored.log_m.tolist() == survivor.log_m.tolist()
    assert restored.rows.tolist() == survivor.rows.tolist()
    assert (restored.n_events, restored.full) == (survivor.n_events, survivor.full)


def test_the_state_handed_out_is_a_copy() -> None:
    detector = fed(ONE, stream(50, seed=9))
    expected = detector.read()
    detector.log_m[:] = 99.0
    state = detector.log_m
    restored = Detector.restore(ONE, WINDOWS, detector.rows, state)
    state[:] = 99.0
    assert same(detector.read(), expected)
    assert same(restored.read(), expected)


def test_permuting_features_changes_nothing() -> None:
    order, rows = np.random.default_rng(10).permutation(D), stream(100, seed=11, shift=0.2)
    plain = fed(ONE, rows).read()
    permuted = fed(know_domains({"a": ONE.rows[0][:, order]}), rows[:, order]).read()
    assert permuted.e_detector == pytest.approx(plain.e_detector, abs=1e-12)
    assert permuted.short[0].ks.tolist() == plain.short[0].ks[order].tolist()


def test_a_constant_feature_changes_no_energy_and_makes_no_evidence() -> None:
    rows = stream(100, seed=12, shift=0.2)
    plain = fed(ONE, rows)
    wider = fed(
        know_domains({"a": np.column_stack([ONE.rows[0], np.ones(400, np.float32)])}),
        np.column_stack([rows, np.ones(100, np.float32)]),
    )
    assert wider.read().short[0].energy == plain.read().short[0].energy
    assert wider.log_m[:-1].tolist() == plain.log_m.tolist()
    assert wider.log_m[-1].max() <= math.log(10)  # M of no bet at all counts blocks, less what the bet pays


@pytest.mark.parametrize("known", [ONE, TWO], ids=["one domain", "two domains"])
def test_more_drift_more_of_everything(known: KnownDomains) -> None:
    readings = [fed(known, stream(200, seed=13, shift=-shift)).read() for shift in (0.0, 0.5, 1.0, 2.0)]
    nearest = [min(look.energy for look in each.short) for each in readings]
    assert nearest == sorted(nearest)
    evidence = [each.e_detector for each in readings]
    assert evidence == sorted(evidence)


def test_traffic_of_a_second_domain_is_no_change_when_it_is_known() -> None:
    rows = (stream(400, seed=14) * 1.3 + 1.0).astype(np.float32)
    strange, known = fed(ONE, rows).read(), fed(TWO, rows).read()
    assert strange.e_detector > 10
    assert known.e_detector < 2
    assert [look.hypothesis.name for look in known.short] == ["a", "b", MIXTURE]
    assert known.short[1].energy < 0.4 * strange.short[0].energy


def test_nan_is_just_another_value() -> None:
    rows = stream(100, seed=15)
    rows[:, 0] = np.nan
    reading = fed(ONE, rows).read()
    assert math.isfinite(reading.e_detector)
    assert reading.short[0].ks[0] > 0.95


@pytest.mark.parametrize("shape", [(15, D), (10, D + 1), (10,)])
def test_what_is_no_block_is_refused(shape: tuple[int, ...]) -> None:
    detector = Detector(ONE, WINDOWS)
    with pytest.raises(ValueError, match="no blocks of 10 x 5"):
        detector.take(np.zeros(shape, np.float32))
    assert detector.n_events == 0


def test_a_state_of_another_detector_is_refused() -> None:
    log_m = Detector(ONE, WINDOWS).log_m
    with pytest.raises(ValueError, match="no state"):
        Detector.restore(ONE, WINDOWS, stream(90, seed=16), log_m)
    with pytest.raises(ValueError, match="no state"):
        Detector.restore(ONE, WINDOWS, stream(50, seed=16), log_m[:2])


@pytest.mark.parametrize(
    ("block", "short", "long"),
    [(50, 520, 2000), (50, 500, 1990), (50, 500, 450), (0, 500, 2000), (50, 0, 2000)],
)
def test_windows_that_do_not_fit_are_refused(block: int, short: int, long: int) -> None:
    with pytest.raises(ValueError, match=r"multiples|shorter|block"):
        Windows(block=block, short=short, long=long)


def test_memory_is_flat_over_many_events() -> None:
    detector, rows = fed(ONE, stream(80, seed=17)), stream(10_000, seed=18)
    tracemalloc.start()
    try:
        detector.take(rows)  # what is replaced now and then is counted from here on
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20):
            detector.take(rows)
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 10_000  # of 200,000 events


def test_the_state_of_43_features_is_below_a_megabyte() -> None:
    random = np.random.default_rng(19)
    known = know_domains({"a": random.normal(size=(500, 43)).astype(np.float32)})
    rows = random.normal(size=(2000, 43)).astype(np.float32)
    tracemalloc.start()
    try:
        detector = Detector(known, Windows())
        detector.take(rows)
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert detector.full
    assert now < 1_000_000


def test_a_read_takes_microseconds() -> None:
    random = np.random.default_rng(20)
    known = know_domains({"a": random.normal(size=(2000, 43)).astype(np.float32)})
    detector = Detector(known, Windows())
    detector.take(random.normal(size=(2000, 43)).astype(np.float32))
    times = []
    for _ in range(10):
        began = time.process_time()
        for _ in range(20):
            detector.read()
        times.append((time.process_time() - began) / 20)
    assert min(times) < 400e-6  # measured 33e-6; the bound leaves room for a slower machine
