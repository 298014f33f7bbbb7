"""`python -m benchmarks.serving`: the engine and the HTTP server, beside peers, on one machine; a report with figures.

python -m benchmarks.serving --out DIR                      # everything that installs, about 20 minutes
python -m benchmarks.serving --out DIR --peers plain --rounds 3 --scale 0.3
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import torch

from benchmarks.serving.engine import EngineResult, measure_engine, summarise
from benchmarks.serving.environments import REQUIREMENTS, PeerMissing
from benchmarks.serving.load import LoadProcess
from benchmarks.serving.machine import facts
from benchmarks.serving.over_http import Cell, EngineCell, Machine, measure_http
from benchmarks.serving.own_server import serving
from benchmarks.serving.peers.classifier import Classifier
from benchmarks.serving.precision import Int8Result, measure_int8
from benchmarks.serving.processes import on_cpus
from benchmarks.serving.report import engine_section, figures, http_section, int8_section, whole
from benchmarks.serving.servers import Server, ServerFailed, start_peer
from benchmarks.serving.texts import describe, rated_rows
from benchmarks.serving.versions import Home, export, make_home, settings_of
from service.demo.data import cache_dir
from trimtab.datafiles import Row

N_TRAIN = 1200
N_TEXTS = 2000
N_ENGINE_TEXTS = 320
N_ACCURACY = 4000


@dataclass(frozen=True)
class Prepared:
    """What every part works on: a trained version as home and as checkpoint, and texts that it was not trained on."""

    home: Home
    checkpoint: Path
    held_out: list[Row]

    @property
    def texts(self) -> list[str]:
        return [row.text for row in self.held_out[:N_TEXTS]]


def prepare(out: Path) -> Prepared:
    """Trains the version (once per output directory) and exports it."""
    rows = rated_rows()
    home = make_home(settings_of(out / "home"), rows, [("", N_TRAIN)])
    checkpoint = export(home.bundles[1], out / "checkpoint")
    return Prepared(home, checkpoint, rows[N_TRAIN:])


def run_engine(made: Prepared, n_rounds: int) -> EngineResult:
    """Part (a)."""
    classify = Classifier(made.checkpoint)
    texts = made.texts[:N_ENGINE_TEXTS]
    rounds = []
    for each in measure_engine(made.home.bundles[1], classify, texts, n_rounds):
        rounds.append(each)
        print(
            f"engine round {len(rounds)}/{n_rounds}: {each.eager_s / each.engine_s:.2f} x eager", flush=True
        )
    return summarise(made.home.bundles[1], classify, texts, rounds)


def run_http(
    made: Prepared, options: argparse.Namespace, machine: Machine
) -> tuple[list[Cell], list[EngineCell], dict[str, str]]:
    """Parts (b) and (d): cells of HTTP, cells of the engine, and why a peer is missing."""
    texts_file = options.out / "texts.json"
    texts_file.write_text(json.dumps(made.texts), encoding="utf-8")
    concurrencies = [int(each) for each in options.concurrency.split(",")]
    cells: list[Cell] = []
    engine: list[EngineCell] = []
    with (
        started(made, options, machine) as (servers, missing),
        on_cpus(machine.clients),
        LoadProcess(texts_file) as load,
    ):
        for each in measure_http(
            servers,
            load,
            made.home.bundles[1],
            made.texts,
            machine,
            concurrencies=concurrencies,
            n_rounds=options.rounds,
            scale=options.scale,
        ):
            if isinstance(each, EngineCell):
                engine.append(each)
                continue
            cells.append(each)
            say(each, options.rounds)
    return cells, engine, missing


@contextmanager
def started(
    made: Prepared, options: argparse.Namespace, machine: Machine
) -> Iterator[tuple[list[Server], dict[str, str]]]:
    """Trimtab in fp32 and int8 and every peer that can be had; and for the others, why not."""
    servers: list[Server] = []
    missing: dict[str, str] = {}
    # One compute thread, as every peer has.
    one = {"TRIMTAB_SERVER__THREADS": "1"}
    with ExitStack() as stack:
        own = {"trimtab": one}
        if options.int8:
            own["trimtab-int8"] = one | {"TRIMTAB_SERVER__PRECISION": "int8"}
        for name, extra in own.items():
            server = stack.enter_context(serving(made.home.settings, name, cpus=machine.servers, extra=extra))
            if name == "trimtab-int8" and refused_precision(server):
                missing[name] = "the accuracy check refused it for this version, fp32 serves"
                continue
            servers.append(server)
        for name in [each for each in options.peers.split(",") if each]:
            print(f"starting {name}", flush=True)
            try:
                server = start_peer(
                    name,
                    environments=options.environments,
                    checkpoint=made.checkpoint,
                    folder=options.out,
                    cpus=machine.servers,
                )
            except (PeerMissing, ServerFailed) as error:
                missing[name] = str(error)
                print(f"{name} is left out: {error}", flush=True)
                continue
            stack.callback(server.stop)
            servers.append(server)
        yield servers, missing


def refused_precision(server: Server) -> bool:
    """Whether the server fell back to fp32."""
    metrics = httpx.get(f"http://127.0.0.1:{server.port}/metrics", trust_env=False).text
    return 'outcome="precision_refused"' in metrics


def say(cell: Cell, n_rounds: int) -> None:
    """One line a cell."""
    load = cell.load
    print(
        f"round {cell.round + 1}/{n_rounds} c={cell.concurrency:<3} {cell.server:<13} {cell.cpu_ms:6.2f} CPU ms  "
        f"{load.per_s:7.1f}/s  p50 {load.p50_ms:7.1f}  p95 {load.p95_ms:7.1f}  failed {load.failed}",
        flush=True,
    )


def setup_text(made: Prepared, machine: Machine) -> str:
    """What was measured, in words."""
    peers = "; ".join(", ".join(each) for each in REQUIREMENTS.values() if each)
    return (
        f"Model: MiniLM with LoRA on every linear layer, merged, mean pooling, linear head; all serve the same weights "
        f"(Infinity: the same encoder below BERT's own head, as its classification knows no mean pooling). "
        f"{describe(made.home.base, made.texts)}. Servers run on processors {list(machine.servers)} with one compute "
        f"thread, load generator on {list(machine.clients)}; it is one process, closed loop, keep-alive. "
        f"Trimtab's cost includes sampling for the monitor and the Valkey that takes the samples. Peers: {peers}."
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="directory of the report, figures and raw numbers"
    )
    parser.add_argument(
        "--peers", default="plain,litserve,infinity,bentoml,mlserver,ray", help="separated by commas"
    )
    parser.add_argument("--concurrency", default="1,8,32,64", help="separated by commas")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--scale", type=float, default=1.0, help="shortens every window of HTTP")
    parser.add_argument("--server-cpus", type=int, default=1, help="processors of the servers; 0: all")
    parser.add_argument("--parts", default="engine,int8,http", help="separated by commas")
    parser.add_argument("--no-int8", dest="int8", action="store_false", help="without an int8 server")
    parser.add_argument(
        "--environments", type=Path, default=cache_dir() / "peers", help="where peers' environments are kept"
    )
    options = parser.parse_args(arguments)
    unknown = {each for each in options.peers.split(",") if each} - REQUIREMENTS.keys()
    if unknown:
        parser.error(f"--peers: {', '.join(sorted(unknown))} unknown; there are {', '.join(REQUIREMENTS)}")
    return options


def main() -> None:
    options = parse()
    options.out = options.out.absolute()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    before, machine = facts(), Machine.split(options.server_cpus)
    made, parts = prepare(options.out), options.parts.split(",")
    sections: list[str] = []
    pictures: dict[str, str] = {}
    missing: dict[str, str] = {}
    raw: dict[str, object] = {"machine": before}
    if "engine" in parts:
        with on_cpus(machine.servers):
            engine: EngineResult = run_engine(made, options.rounds)
        sections.append(engine_section(engine))
        raw["engine"] = asdict(engine)
    if "int8" in parts and options.int8:
        with on_cpus(machine.servers):
            int8: Int8Result = measure_int8(made.home.bundles[1], made.held_out[:N_ACCURACY], options.rounds)
        sections.append(int8_section(int8))
        raw["int8"] = asdict(int8)
    if "http" in parts:
        cells, alone, missing = run_http(made, options, machine)
        sections.append(http_section(cells, alone))
        pictures = figures(cells)
        raw |= {"http": [asdict(each) for each in cells], "engine_alone": [asdict(each) for each in alone]}
    before["load average at the end"] = ", ".join(f"{each:.2f}" for each in os.getloadavg())
    report = whole(before, setup_text(made, machine), missing, sections, list(pictures))
    for name, content in {**pictures, "report.md": report, "raw.json": json.dumps(raw)}.items():
        (options.out / name).write_text(content, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
