"""The peer's side, run by the python of its own environment: Avalanche's replay goes on from our source version.

    python avalanche_side.py DIRECTORY

DIRECTORY holds the version as peft and we write it, and question.json: {"base", "epochs", "seed", "exemplars",
"pad", "domains": [{"ids", "labels"}, ...] (the source first), "tests": {name: ids}}. Writes answers.json: for every new
domain what is answered to every test text after it, and the CPU seconds of its training. Strategy, dataloader and
memory are Avalanche's; optimiser, rates, passes and the number of exemplars are the benchmark's.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

BATCH = 16
LORA_LR, HEAD_LR, WEIGHT_DECAY, WARM_UP = 1e-3, 5e-3, 0.01, 0.1
# Avalanche imports torchvision, whose wheel wants kernels that only come with CUDA; nothing here calls them.
UNUSED_KERNELS = ("nms", "qnms")


class Classifier(nn.Module):
    """Mean pooling and a linear head on peft's encoder; a batch is as wide as its longest text."""

    def __init__(self, base: str, version: Path, pad: int) -> None:
        super().__init__()
        encoder = importlib.import_module("transformers").AutoModel.from_pretrained(base, dtype=torch.float32)
        self.encoder = importlib.import_module("peft").PeftModel.from_pretrained(
            encoder, version, is_trainable=True
        )
        head = load_file(version / "head.safetensors")
        self.head = nn.Linear(head["weight"].shape[1], head["weight"].shape[0])
        self.head.load_state_dict(head)
        self.pad = pad

    def forward(self, ids: Tensor) -> Tensor:
        ids = ids[:, : int((ids != self.pad).sum(dim=1).max())]
        mask = (ids != self.pad).long()
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        logits: Tensor = self.head((states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True))
        return logits


class Rows(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Padded ids with their labels, as Avalanche wants them."""

    def __init__(self, ids: Tensor, labels: list[int]) -> None:
        self.ids, self.targets = ids, labels

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.ids[i], self.targets[i]


def padded(ids: list[list[int]], pad: int, width: int = 0) -> Tensor:
    """(n, width), by default that of the longest."""
    width = width or max(map(len, ids))
    return torch.tensor([row + [pad] * (width - len(row)) for row in ids])


def strategy_of(model: Classifier, question: dict[str, Any]) -> Any:
    """Avalanche's Naive strategy with its replay plugin: as many exemplars as ours, the same number of each domain."""
    training = importlib.import_module("avalanche.training")
    plugins = importlib.import_module("avalanche.training.plugins")
    size = question["exemplars"] * len(question["domains"])
    buffer = importlib.import_module("avalanche.training.storage_policy").ExperienceBalancedBuffer(
        max_size=size, adaptive_size=False, num_experiences=len(question["domains"])
    )
    lora = [weight for weight in model.encoder.parameters() if weight.requires_grad]
    groups = [{"params": lora, "lr": LORA_LR}, {"params": list(model.head.parameters()), "lr": HEAD_LR}]
    optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
    longest = max(len(domain["labels"]) for domain in question["domains"][1:])
    steps = question["epochs"] * -(-max(longest, size - question["exemplars"]) // BATCH)
    pace = plugins.LRSchedulerPlugin(
        torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, steps)),
        step_granularity="iteration",
    )
    return training.Naive(
        model=model,
        optimizer=optimiser,
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=BATCH,
        train_epochs=question["epochs"],
        plugins=[plugins.ReplayPlugin(mem_size=size, storage_policy=buffer), pace],
        evaluator=plugins.EvaluationPlugin(loggers=[]),
    )


def rate(step: int, of: int) -> float:
    """Our own warm-up and decay; Avalanche's epochs grow with its memory, so `of` is that of the last domain."""
    return max(min((step + 1) / max(WARM_UP * of, 1.0), (of - step) / ((1.0 - WARM_UP) * of), 1.0), 0.0)


def experiences(question: dict[str, Any]) -> Any:
    """Avalanche's stream of the domains."""
    as_dataset = importlib.import_module("avalanche.benchmarks.utils").as_classification_dataset
    make = importlib.import_module("avalanche.benchmarks").benchmark_from_datasets
    domains, pad = question["domains"], question["pad"]
    width = max(len(row) for each in domains for row in each["ids"])
    rows = [Rows(padded(each["ids"], pad, width), each["labels"]) for each in domains]
    return make(train=[as_dataset(each) for each in rows]).train_stream


def answered(model: Classifier, ids: list[list[int]]) -> list[int]:
    """The likeliest label of every text."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found = [0] * len(ids)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), 2 * BATCH):
            chosen = order[start : start + 2 * BATCH]
            labels = model(padded([ids[i] for i in chosen], model.pad)).argmax(dim=1).tolist()
            for i, label in zip(chosen, labels, strict=True):
                found[i] = label
    return found


def run(directory: Path) -> list[dict[str, Any]]:
    """One answer a new domain. The source is only remembered: the version has learnt it."""
    question = json.loads((directory / "question.json").read_text(encoding="utf-8"))
    torch.manual_seed(question["seed"])
    model = Classifier(question["base"], directory, question["pad"])
    strategy, answers = strategy_of(model, question), []
    for number, experience in enumerate(experiences(question)):
        strategy.train_epochs = question["epochs"] if number else 0
        started = time.process_time()
        strategy.train(experience)
        spent_s = time.process_time() - started
        if number:
            found = {name: answered(model, ids) for name, ids in question["tests"].items()}
            answers.append({"cpu_s": spent_s, "predicted": found})
    return answers


def main() -> None:
    torch.set_num_threads(1)
    for name in UNUSED_KERNELS:
        torch.library.define(
            f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    directory = Path(sys.argv[1])
    (directory / "answers.json").write_text(json.dumps(run(directory)), encoding="utf-8")


if __name__ == "__main__":
    main()
