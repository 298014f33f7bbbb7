"""`python -m benchmarks.adaptation.speed`: CPU time of our fit beside plain Hugging Face Trainer and peft.

The same base, texts, passes, batch size, rank, layers, learning rate and schedule, on one thread; a run of each in
turn, so that a busy machine is busy for all. CPU seconds of the process (`time.process_time`), tokenising included,
and balanced accuracy on texts that nobody trained on.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.adaptation.data import Domain, Study
from benchmarks.adaptation.targets import untold
from service.demo.data import LABELS, cache_dir, fetch_archive, load_domains
from service.demo.model import packaged_model
from trimtab.base import BaseModel, load_base
from trimtab.features import Floats
from trimtab.packing import mean_pool, share_tensors
from workers.classifier import RANK, SCALING, TrainableClassifier, default_shape
from workers.evaluate import scorecard
from workers.fit import Recipe, TrainingSet, fit

DOMAIN = "tweets"
N_TEST = 1000
PEER_DROPOUT = 0.05  # peft's usual one for LoRA
Predict = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True)
class Timing:
    """One fit: who, which seed, CPU seconds, balanced accuracy on the test texts."""

    name: str
    seed: int
    cpu_s: float
    accuracy: float


class Plain(nn.Module):
    """What a user of peft would write: its model, a mean over the tokens, a linear layer, a cross-entropy."""

    def __init__(self, encoder: nn.Module, hidden_size: int, n_labels: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(hidden_size, n_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.head(mean_pool(hidden, attention_mask))
        found = {"logits": logits}
        return found if labels is None else {"loss": nn.functional.cross_entropy(logits, labels), **found}


def ours(base: BaseModel, train: TrainingSet, recipe: Recipe) -> Predict:
    """Our loop, without replay."""
    network = TrainableClassifier(base, len(LABELS), recipe.seed)
    fit(network, train, None, recipe, untold)
    return lambda texts: network.predict_logits(texts, recipe.max_tokens)


def trainer(base: BaseModel, train: TrainingSet, recipe: Recipe, *, by_length: bool = False) -> Predict:
    """transformers.Trainer with a peft model; its default order of rows, or batches of similar length."""
    from transformers import Trainer, TrainingArguments

    model = _peft_model(base, recipe.seed)
    rows = [
        {"input_ids": ids, "labels": int(label)}
        for ids, label in zip(base.encode(train.texts, recipe.max_tokens), train.labels, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {
            "train_sampling_strategy": "group_by_length" if by_length else "random",
            "per_device_train_batch_size": recipe.batch,
            "num_train_epochs": recipe.epochs,
            "learning_rate": recipe.lora_lr,
            "weight_decay": recipe.weight_decay,
            "warmup_steps": recipe.warm_up,
            "max_grad_norm": recipe.clip,
            "lr_scheduler_type": "linear",
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "seed": recipe.seed,
            "disable_tqdm": True,
            "remove_unused_columns": False,
            "dataloader_pin_memory": False,
        }
        arguments = TrainingArguments(output_dir=folder, **options)
        peer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=_collator(base))
        peer.train()
    return lambda texts: _predict(model, base, texts, recipe.max_tokens)


def _peft_model(base: BaseModel, seed: int) -> Plain:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    shape = default_shape(base)
    config = LoraConfig(
        r=RANK,
        lora_alpha=int(SCALING * RANK),
        lora_dropout=PEER_DROPOUT,
        target_modules=list(shape.targets),
    )
    encoder: Any = share_tensors(base.encoder)
    return Plain(get_peft_model(encoder, config), base.hidden_size, len(LABELS))


def _collator(base: BaseModel) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        tokens = base.pad([row["input_ids"] for row in rows])
        labels = torch.tensor([row["labels"] for row in rows])
        return {"input_ids": tokens.ids, "attention_mask": tokens.mask, "labels": labels}

    return collate


def _predict(model: Plain, base: BaseModel, texts: Sequence[str], max_tokens: int) -> Floats:
    model.eval()
    ids = base.encode(texts, max_tokens)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(ids), 32):
            tokens = base.pad(ids[start : start + 32])
            parts.append(model(tokens.ids, tokens.mask)["logits"].numpy())
    return np.concatenate(parts)


NAMES: dict[str, Callable[[BaseModel, TrainingSet, Recipe], Predict]] = {
    "ours": ours,
    "Trainer + peft": trainer,
    "Trainer + peft, by length": lambda base, train, recipe: trainer(base, train, recipe, by_length=True),
}


def timed(name: str, base: BaseModel, domain: Domain, recipe: Recipe) -> Timing:
    """One fit and its accuracy."""
    started = time.process_time()
    predict = NAMES[name](base, domain.train.training_set(), recipe)
    seconds = time.process_time() - started
    test = domain.test.first(N_TEST)
    answers = np.asarray(predict(test.texts).argmax(axis=1), dtype=np.int64)
    return Timing(name, recipe.seed, seconds, scorecard(answers, test.labels).balanced_accuracy)


def table(timings: Sequence[Timing]) -> str:
    """Medians over the seeds; ratios are of runs of one seed."""
    lines = ["who | CPU s | times ours | balanced accuracy by seed"]
    of_ours = {each.seed: each.cpu_s for each in timings if each.name == "ours"}
    for name in NAMES:
        found = [each for each in timings if each.name == name and each.seed in of_ours]
        if found:
            ratio = statistics.median(each.cpu_s / of_ours[each.seed] for each in found)
            scores = ", ".join(f"{each.accuracy:.3f}" for each in found)
            seconds = statistics.median(each.cpu_s for each in found)
            lines.append(f"{name} | {seconds:.1f} | {ratio:.2f} | {scores}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table after every run; --json keeps the runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptation.speed", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the runs to this file")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = load_domains(fetch_archive(cache_dir()))
    study = Study(rows=rows, labels=LABELS, base=str(packaged_model()))
    base = load_base(study.base, "cpu")
    timings: list[Timing] = []
    for seed in range(arguments.seeds):
        domain = study.split(seed)[DOMAIN]
        for name in NAMES:
            timings.append(timed(name, base, domain, Recipe(epochs=arguments.epochs, seed=seed)))
            print(table(timings), flush=True)
    if arguments.json:
        text = json.dumps([asdict(each) for each in timings], indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
