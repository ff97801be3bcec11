"""All that a resume needs, in one type: everything that changes while a trial trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, TypedDict, cast

import torch
from pydantic import JsonValue

from thriftune.checkpoints.stored import LoadedCheckpoint
from thriftune.config import TrainingConfig
from thriftune.model.trainable import DualAgent
from thriftune.training.optimisation import (
    Group,
    Tensors,
    build_optimizer,
    build_scaler,
    build_schedule,
    flatten_optimizer,
    restore_optimizer,
)
from thriftune.training.seeding import GeneratorStates, capture_generators, restore_generators


@dataclass(frozen=True)
class Resume:
    """What a verified checkpoint has for a resume."""

    epoch: int
    step: int
    model: Tensors
    optimizer: Tensors
    state: Mapping[str, JsonValue]
    """A SavedState as JSON."""

    @classmethod
    def from_checkpoint(cls, loaded: LoadedCheckpoint) -> Resume:
        """Return what a checkpoint of a store has.

        Args:
            loaded: Resume-capable, and verified.
        """
        return cls(loaded.epoch, loaded.step, loaded.model, loaded.optimizer, loaded.state)


@dataclass
class Progress:
    """The counters of a trial, all of which a checkpoint has."""

    epoch: int = 0
    step: int = 0
    best_value: float | None = None
    saves_since_best: int = 0

    @property
    def is_best(self) -> bool:
        """Whether the last saved epoch has the best value so far, and is the first to have it."""
        return self.best_value is not None and self.saves_since_best == 0

    def note_value(self, value: float | None) -> None:
        """Count a saved epoch for early stopping; a tie is not a gain.

        Args:
            value: The metric, the higher the better; None, where it is undefined, is not a gain.
        """
        if value is not None and (self.best_value is None or value > self.best_value):
            self.best_value, self.saves_since_best = value, 0
        else:
            self.saves_since_best += 1


@dataclass(frozen=True)
class Captured:
    """The state at one moment: live tensors, which change with the next step, and JSON values."""

    model: Tensors
    optimizer: Tensors
    scalars: Mapping[str, JsonValue]
    """A SavedState as JSON."""


class DataOrder(TypedDict):
    """Where in the data training is."""

    seed: int
    next_epoch: int


class SavedState(TypedDict):
    """All that a resume needs beside tensors and the numbers of epoch and step, as JSON values."""

    generators: GeneratorStates
    optimizer_groups: list[Group]
    schedule_step: int
    scaler: dict[str, JsonValue]
    data_order: DataOrder
    best_value: float | None
    saves_since_best: int


@dataclass
class TrainingState:
    """What training changes: weights, optimizer, schedule, scaler, counters; and the global generators.

    `capture` and `restore` are inverse to each other: training continues bit for bit from what was captured.
    """

    agent: DualAgent
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    scaler: torch.amp.GradScaler
    seed: int
    """Orders the posts of each epoch."""
    progress: Progress = field(default_factory=Progress)

    @classmethod
    def start(cls, agent: DualAgent, config: TrainingConfig, total_steps: int, seed: int) -> Self:
        """Return the state before the first step.

        Args:
            agent: On its device, with its initial weights.
            config: The optimizer, its schedule and the precision.
            total_steps: Optimizer steps of the whole training, for the schedule.
            seed: Orders the posts of each epoch.
        """
        optimizer = build_optimizer(agent, config)
        schedule = build_schedule(optimizer, total_steps, config)
        return cls(agent, optimizer, schedule, build_scaler(config, next(agent.parameters()).device), seed)

    def capture(self) -> Captured:
        """Return what `restore` needs; the tensors are not copied."""
        tensors, groups = flatten_optimizer(self.optimizer, self.agent)
        scalars: SavedState = {
            "generators": capture_generators(),
            "optimizer_groups": groups,
            "schedule_step": self.schedule.last_epoch,
            "scaler": self.scaler.state_dict(),
            "data_order": {"seed": self.seed, "next_epoch": self.progress.epoch + 1},
            "best_value": self.progress.best_value,
            "saves_since_best": self.progress.saves_since_best,
        }
        return Captured(self.agent.trained_state(), tensors, cast("Mapping[str, JsonValue]", scalars))

    def restore(self, resume: Resume) -> None:
        """Put everything back that a checkpoint has, the global generators too.

        DamageError is raised if it does not fit the agent's parameters, or lacks a generator.

        Args:
            resume: The checkpoint, verified.
        """
        saved = cast(SavedState, resume.state)
        self.agent.load_trained(resume.model)
        restore_optimizer(self.optimizer, self.agent, resume.optimizer, saved["optimizer_groups"])
        self.schedule.last_epoch = saved["schedule_step"]
        self.schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler.load_state_dict(saved["scaler"])
        restore_generators(saved["generators"])
        self.progress = Progress(
            epoch=resume.epoch,
            step=resume.step,
            best_value=saved["best_value"],
            saves_since_best=saved["saves_since_best"],
        )
