"""What /metrics says of one process, and of several that share a directory."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY, Gauge
from prometheus_client.parser import text_string_to_metric_families

from service.exposition import DIRECTORY, drop_series, exposition, shared_metrics
from trimtab import metrics

# A process of its own, because prometheus_client decides at import how it keeps values.
WORKER = """
from service.exposition import drop_series
from trimtab import metrics
metrics.PREDICTIONS.labels("toy", "1", "yes").inc(3)
metrics.QUEUE_DURATION.labels("toy").observe(0.5)
metrics.OBSERVED_GENERATION.labels("toy").set(GENERATION)
metrics.GENERATION.labels("toy").set(GENERATION)
metrics.SERVING_VERSION.labels("toy", "1", "aa").set(1)
metrics.SERVING_VERSION.labels("toy", "2", "bb").set(1)
drop_series(metrics.SERVING_VERSION, "toy", "1", "aa")
print("done", flush=True)
input()
"""


def values() -> dict[tuple[str, str], float]:
    """(name, version label) -> value, as Prometheus reads it."""
    return {
        (sample.name, sample.labels.get("version", "")): sample.value
        for family in text_string_to_metric_families(exposition().decode())
        for sample in family.samples
        if sample.labels.get("model") == "toy" and "le" not in sample.labels
    }


def test_one_process_shows_its_own_and_a_dropped_series_is_gone() -> None:
    gauge = Gauge("trimtab_of_this_test", "for this test", ["model"])
    gauge.labels("toy").set(3)
    assert values()["trimtab_of_this_test", ""] == 3
    drop_series(gauge, "toy")
    assert ("trimtab_of_this_test", "") not in values()
    REGISTRY.unregister(gauge)


def test_several_processes_add_up_and_the_dead_leave_their_counts() -> None:
    with shared_metrics():
        workers = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", WORKER.replace("set(GENERATION)", f"set({generation})")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for generation in (4, 5)
        ]  # fmt: skip
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "done\n"
        together = values()
        assert together["trimtab_predictions_total", "1"] == 6
        assert together["trimtab_queue_duration_seconds_count", ""] == 2
        assert together["trimtab_observed_generation", ""] == 4
        assert together["trimtab_generation", ""] == 5
        assert together["trimtab_serving_version_info", "2"] == 2
        assert together["trimtab_serving_version_info", "1"] == 0
        assert "pid=" not in exposition().decode()
        for worker in workers[:1]:
            worker.communicate("\n")
        after = values()
        assert after["trimtab_predictions_total", "1"] == 6
        assert after["trimtab_observed_generation", ""] == 5
        assert after["trimtab_serving_version_info", "2"] == 1
        workers[1].communicate("\n")


def test_the_directory_is_there_only_meanwhile() -> None:
    with shared_metrics():
        directory = os.environ[DIRECTORY]
        assert pathlib.Path(directory).is_dir()
    assert DIRECTORY not in os.environ
    assert not pathlib.Path(directory).exists()


@pytest.mark.parametrize("gauge", [metrics.SERVING_VERSION, metrics.GENERATION, metrics.OBSERVED_GENERATION])
def test_gauges_of_the_api_say_how_processes_add_up(gauge: Gauge) -> None:
    assert gauge._multiprocess_mode.startswith("live")
