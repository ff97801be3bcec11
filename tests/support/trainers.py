"""Trainers of a tiny agent, and their checkpoints as files give them back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from tests.support.agents import collator, marked, rows
from thriftune import files
from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.hashing import write_hashed
from thriftune.checkpoints.tensors import read_verified, serialise, tensors_in
from thriftune.config import Parameters
from thriftune.model.encoder import Encoder
from thriftune.training.inputs import build_agent, layout_of
from thriftune.training.loop import Identity, Trainer
from thriftune.training.state import Resume


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], float | None] = {}

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """One value a key and step."""
        for key, value in metrics.items():
            assert (key, step) not in self.rows
            self.rows[key, step] = value


CPU = torch.device("cpu")


def trainer(settings: Parameters, encoder: Encoder, device: torch.device = CPU) -> Trainer:
    """Four posts, of one to three windows and more."""
    layout = layout_of(settings, ("A", "B"))
    weights = torch.tensor([1.0, 2.0], device=device), torch.tensor([3.0, 1.0], device=device)
    return Trainer(
        agent=build_agent(settings, encoder, ("A", "B")).to(device),
        rows=rows(encoder, [marked(10 * (1 + number), number) for number in range(4)], layout),
        collator=collator(encoder, layout),
        positive_weights=weights,
        training=settings.training,
        metric="m",
        seed=0,
        save_every_epochs=1,
        identity=Identity("study-00000000", 0, "00000000", "0" * 64),
        validate=lambda agent: {"m": 0.5},
        log=Log(),
    )


def stored(checkpoint: Checkpoint, folder: Path) -> Resume:
    """The checkpoint as its files give it back."""
    found = []
    for name, tensors in (("model", checkpoint.model), ("optimizer", checkpoint.optimizer)):
        with files.NewFile(folder / name) as handle:
            fact = write_hashed(handle, serialise(tensors))
        found.append(tensors_in(read_verified(folder / name, fact)))
    state = json.loads(json.dumps(dict(checkpoint.state)))
    return Resume(checkpoint.epoch, checkpoint.step, found[0], found[1], state)


def committed(checkpoint: Checkpoint) -> Checkpoint:
    """As if it were stored."""
    checkpoint.receipt.commit()
    return checkpoint
