"""A service of its own for every candidate: ledger, store and keys in a directory, version 1, traffic with labels."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from trimtab.adapter import create_keys
from trimtab.base import BaseModel, load_base
from trimtab.bundle import self_test
from trimtab.datafiles import Row
from trimtab.errors import TrimtabError
from trimtab.jobs import JobStatus, Lease
from trimtab.ledger import feedback, jobs, models, samples, versions
from trimtab.ledger.feedback import FeedbackItem
from trimtab.samples import Sample, SampleBlock
from trimtab.settings import Settings, TrainingSettings
from workers.adapt import Case, judge_and_publish
from workers.contest import Choice
from workers.first import create_first_version
from workers.material import Material, gather
from workers.plan import make_plan
from workers.preparing import make_task
from workers.progress import silent
from workers.task import Proposal, Task
from workers.workshop import LoadedVersion, Workshop, load_version, open_workshop

MODEL = "study"
FIRST = "first"
Make = Callable[[Task, Material], Proposal]


@dataclass(frozen=True)
class Sent:
    """A labelled request: the text, the label that is given for it, true or not, and whose it is."""

    text: str
    label: str
    client: str


@dataclass(frozen=True)
class World:
    """Where the services lie, the base, and fresh rows of the past and the new domain that tell the truth."""

    home: Path
    base: str
    past: tuple[Row, ...]
    new: tuple[Row, ...]


@dataclass(frozen=True)
class Service:
    """One opened service; `first` is version 1, which all services share: each text is asked once for all of them."""

    shop: Workshop
    settings: Settings
    first: LoadedVersion

    def send(self, sent: Sequence[Sent]) -> Lease:
        """Answers the requests, takes their labels, opens a job for the window and claims it."""
        answered = self._answers([each.text for each in sent])
        blocks = SampleBlock("study", "replica", tuple(map(_sample, range(len(sent)), sent, answered)))
        items = [
            FeedbackItem(prediction_id=f"p{i}", label=each.label, client=each.client)
            for i, each in enumerate(sent)
        ]
        with self.shop.ledger.begin() as tx:
            first = samples.last_seq(tx) + 1
            samples.ingest(tx, [("0-1", blocks)])
            feedback.record_feedback(tx, items)
            job = jobs.open_job(tx, MODEL, cause={"kind": "study"}, domain="new", window_from_seq=first)
            lease = jobs.claim(tx, job.id, "study", 3600.0)
        if lease is None:
            raise RuntimeError("the study's job was claimed by somebody else")
        return lease

    def judge(self, lease: Lease, make: Make) -> JobStatus:
        """The recipe from material to publication, with a candidate that is handed in instead of the contest's."""
        shop = self.shop
        with shop.ledger.begin() as tx:
            job = jobs.check(tx, lease)
            material = gather(
                tx,
                job,
                shop.memory.budget,
                max_client_share=shop.gate.max_client_share,
                at_least=shop.training.min_train_labels,
            )
            version = versions.reserve_version(tx, MODEL, job.id)
        champion = self.first
        plan = make_plan(material.situation(champion.bundle.remedy, "cpu"), shop.training)
        task = make_task(shop, champion, material, plan, version, silent)
        made = make(task, material)
        choice = Choice(made, "made by the study", ())
        return judge_and_publish(shop, lease, Case(job, material, plan, task), choice, made)

    def version(self, n: int) -> LoadedVersion | None:
        """A version as a replica gets it: fetched, verified, merged, self-tested; None where it refuses."""
        try:
            with self.shop.ledger.read() as tx:
                base = load_base(models.get_model(tx, MODEL).base, "cpu")
            loaded = load_version(self.shop, base, MODEL, n)
            with self.shop.ledger.read() as tx:
                golden = versions.get_version(tx, MODEL, n).manifest["golden"]
            _self_test(loaded, golden)
        except TrimtabError:
            return None
        return loaded

    def _answers(self, texts: Sequence[str]) -> list[str]:
        return [self.first.bundle.labels[i] for i in self.first.answers.predicted(texts)]

    def champion(self) -> int:
        with self.shop.ledger.read() as tx:
            return versions.get_aliases(tx, MODEL)["champion"]


def make_first(world: World, rows: Sequence[Row], training: TrainingSettings, epochs: int = 2) -> None:
    """Version 1 on these rows, once for all services; it is there as a whole or not at all."""
    unfinished = world.home / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    settings = _settings(unfinished, training)
    create_keys(settings.private_key_path, settings.public_key_path)
    with open_workshop(settings) as shop:
        shop.ledger.migrate()
        create_first_version(shop, model=MODEL, base_name=world.base, rows=rows, epochs=epochs)
    unfinished.rename(world.home / FIRST)


@contextmanager
def service(world: World, name: str, training: TrainingSettings) -> Iterator[Service]:
    """A copy of the service as it was after version 1; gone afterwards."""
    home = world.home / name
    shutil.rmtree(home, ignore_errors=True)  # of a run that was stopped
    shutil.copytree(world.home / FIRST, home)
    settings = _settings(home, training)
    try:
        with open_workshop(settings) as shop:
            yield Service(shop, settings, _first(world.home / FIRST))
    finally:
        shutil.rmtree(home)


@cache
def _first(home: Path) -> LoadedVersion:
    """Version 1, loaded once."""
    with open_workshop(_settings(home, TrainingSettings())) as shop:
        return load_version(shop, None, MODEL, 1)


def accuracy(version: LoadedVersion, rows: Sequence[Row]) -> float:
    """Share of fresh rows that a version answers rightly."""
    texts, labels = [row.text for row in rows], version.bundle.labels
    truth = np.array([labels.index(row.label) for row in rows], dtype=np.int64)
    return float((version.answers.predicted(texts) == truth).mean())


def other_base(base: BaseModel, directory: Path) -> Path:
    """A base of the same architecture with other weights, drawn anew; with the same tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    torch.manual_seed(99)
    model = AutoModel.from_config(AutoConfig.from_pretrained(base.name))  # type: ignore[no-untyped-call]
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(base.name).save_pretrained(directory)
    return directory


def _self_test(loaded: LoadedVersion, golden: dict[str, list[object]]) -> None:
    from trimtab.adapter import Golden

    rows = tuple(tuple(float(v) for v in row) for row in golden["logits"])  # type: ignore[attr-defined]
    self_test(loaded.bundle, Golden(texts=tuple(map(str, golden["texts"])), logits=rows))


def _settings(home: Path, training: TrainingSettings) -> Settings:
    return Settings(home=home, device="cpu", training=training)


def _sample(i: int, sent: Sent, answer: str) -> Sample:
    return Sample(
        prediction_id=f"p{i}", model=MODEL, version=1, generation=1, text=sent.text, label=answer, score=0.5,
        domain=None, group=None, client=sent.client, observed_at=1e9 + i, features=(0.0, 1.0),
    )  # fmt: skip
