"""The training loop: a generator that yields a checkpoint at each saved epoch's end.

It knows nothing of disks: whoever drives the generator saves what it yields, and the checkpoint's receipt
tells the loop so before it continues.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

import torch
from torch import nn

from thriftune.checkpoints.checkpoint import Checkpoint, Receipt
from thriftune.config import TrainingConfig
from thriftune.corpus.rows import Row, token_counts
from thriftune.dual_agent.batch import Batch, Collator
from thriftune.errors import ThriftuneError
from thriftune.model.losses import joint_loss
from thriftune.model.trainable import DualAgent
from thriftune.tracking.keys import DEVICE_BYTES, EPOCH_SECONDS, TRAIN_SECONDS, VALIDATION_SECONDS
from thriftune.training.batching import epoch_batches, steps_per_epoch
from thriftune.training.snapshot import Snapshots
from thriftune.training.state import Progress, Resume, TrainingState


class DivergedError(ThriftuneError):
    """The loss is no longer finite: the trial has failed, and the study continues."""


class MetricLog(Protocol):
    """Where metrics go: a journal, for instance."""

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Record each metric once for its (key, step).

        Args:
            metrics: Values by key; None where undefined.
            step: Optimizer step or epoch, as the key wants it.
        """
        ...


class _Discard:
    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Record nothing."""


@dataclass(frozen=True)
class Identity:
    """The ids that every checkpoint has; a store's run fills in those of the study and the trial."""

    study: str = ""
    trial: int = 0
    trial_id: str = ""
    data_fingerprint: str = ""
    attempt: int = 1


@dataclass(frozen=True)
class Trainer:
    """Everything that training needs, and nothing that changes while it runs."""

    agent: DualAgent
    """On its device, with its initial weights."""
    rows: Sequence[Row]
    """Tokenised training posts."""
    collator: Collator
    training: TrainingConfig
    metric: str
    """The metric of `validate` that decides about early stopping; the higher the better."""
    validate: Callable[[DualAgent], Mapping[str, float | None]]
    """Validates, tunes the agent's thresholds and returns metrics by dotted name."""
    positive_weights: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)
    """Per-criterion positive weights [criteria] float32 of the two agents; None: all are 1."""
    seed: int = 0
    """Orders the posts of each epoch."""
    save_every_epochs: int = 1
    identity: Identity = Identity()
    log: MetricLog = field(default_factory=_Discard)
    on_step: Callable[[int, int], None] = lambda step, steps: None
    """Called after each optimizer step with (steps taken, steps in all); may raise to stop."""
    log_every_steps: int = 1
    """Steps of one row of training metrics; an epoch's end ends a row, so that a resume splits none."""
    overlap: bool = True
    """Yield copies, so that they can be written while training continues."""
    clock: Callable[[], float] = time.monotonic
    """Gives the seconds by which the time of training is measured."""


def train(trainer: Trainer, resume: Resume | None = None) -> Iterator[Checkpoint]:
    """Train one configuration, yielding a checkpoint per saved epoch.

    The caller must have seeded the generators before the agent was built. DivergedError is raised when the
    loss is not finite; what made a save fail is raised at the next step, or at the end.

    Args:
        trainer: What to train, and on what.
        resume: A checkpoint to continue from, bit for bit. None: start.

    Yields:
        The checkpoint of an epoch. Its receipt must be accepted by a store before the next one is asked for.
    """
    agent, config = trainer.agent, trainer.training
    total_steps = config.epochs * steps_per_epoch(len(trainer.rows), config.batch_size, config.accumulation)
    state = TrainingState.start(agent, config, total_steps, trainer.seed)
    if resume is not None:
        state.restore(resume)
    progress = state.progress
    snapshots = Snapshots(trainer.overlap)
    saving: Receipt | None = None
    while progress.epoch < config.epochs and not _stopped_early(progress, config):
        progress.epoch += 1
        started_at = trainer.clock()
        _train_epoch(trainer, state, total_steps, saving)
        validated_at = trainer.clock()
        metrics = trainer.validate(agent)
        ended_at = trainer.clock()
        trainer.log.log({f"validation/{key}": value for key, value in metrics.items()}, progress.epoch)
        took = {EPOCH_SECONDS: ended_at - started_at, VALIDATION_SECONDS: ended_at - validated_at}
        trainer.log.log({**took, **_device_memory(agent)}, progress.epoch)
        if progress.epoch % trainer.save_every_epochs == 0:
            progress.note_value(metrics.get(trainer.metric))
            if saving is not None:
                saving.wait()  # one write in flight, and its buffers are used again
            checkpoint = _snapshot(trainer, state, metrics, snapshots)
            saving = checkpoint.receipt
            yield checkpoint
            saving.check()
    if saving is not None:
        saving.wait()


def _train_epoch(trainer: Trainer, state: TrainingState, total_steps: int, saving: Receipt | None) -> None:
    config, agent, progress = trainer.training, trainer.agent, state.progress
    optimizer, schedule, scaler = state.optimizer, state.schedule, state.scaler
    agent.train()
    batches = epoch_batches(token_counts(trainer.rows), config.batch_size, trainer.seed, progress.epoch)
    batches_ahead = _BatchPrefetcher(trainer, batches)
    window: list[tuple[float, float]] = []
    window_started_at = trainer.clock()
    for start in range(0, len(batches), config.accumulation):
        sizes = [len(indices) for indices in batches[start : start + config.accumulation]]
        parts = _accumulate(trainer, batches_ahead, sizes, scaler)
        scaler.unscale_(optimizer)
        loss, norm = _read(parts, _gradient_norm(agent, config.clip_norm), sizes)
        if not math.isfinite(loss) or not (math.isfinite(norm) or _overflowed(scaler)):
            raise DivergedError(
                f"the loss is {loss} and the gradient norm {norm} at step {progress.step + 1}",
                where=f"trial {trainer.identity.trial}, epoch {progress.epoch}",
                remedy="lower training.learning_rate, or set training.clip_norm.",
            )
        rate = _learning_rate(schedule)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        window.append((loss, norm))
        if len(window) == trainer.log_every_steps or start + config.accumulation >= len(batches):
            losses, norms = zip(*window, strict=True)
            means = {"train/loss": fmean(losses), "train/gradient_norm": fmean(norms)}
            now = trainer.clock()
            took = {TRAIN_SECONDS: now - window_started_at}
            trainer.log.log({**means, "train/learning_rate": rate, **took}, progress.step)
            window.clear()
            window_started_at = now
        trainer.on_step(progress.step, total_steps)
        if saving is not None:
            saving.check()


class _BatchPrefetcher:
    """The batches of an epoch in order, each made while the device still works on the one before."""

    def __init__(self, trainer: Trainer, batches: Sequence[Sequence[int]]) -> None:
        self._made = (self._make(trainer, indices) for indices in batches)
        self._next = next(self._made, None)
        self._device = next(trainer.agent.parameters()).device

    @staticmethod
    def _make(trainer: Trainer, indices: Sequence[int]) -> Batch:
        return trainer.collator([trainer.rows[index] for index in indices], trainer.training.max_windows)

    def current(self) -> Batch:
        """Return the batch that was made last, on the agent's device."""
        assert self._next is not None, "there are no more batches"
        return self._next.to(self._device)

    def prefetch(self) -> None:
        """Make the next batch; best when all work for this one was queued and none was waited for."""
        self._next = next(self._made, None)


def _accumulate(
    trainer: Trainer, batches: _BatchPrefetcher, sizes: Sequence[int], scaler: torch.amp.GradScaler
) -> list[torch.Tensor]:
    """Compute gradients of the mean loss over the posts of all micro-batches; return the loss of each."""
    losses = []
    for size in sizes:
        batch = batches.current()
        outputs = trainer.agent(batch)
        loss = joint_loss(trainer.agent, outputs, batch, *trainer.positive_weights)
        torch.autograd.backward(scaler.scale(loss * (size / sum(sizes))))
        losses.append(loss.detach())
        batches.prefetch()
    return losses


def _read(losses: Sequence[torch.Tensor], norm: torch.Tensor, sizes: Sequence[int]) -> tuple[float, float]:
    """Return the mean loss and the gradient norm; the device is waited for once."""
    *read, length = torch.stack([*losses, norm]).tolist()
    return sum(loss * (size / sum(sizes)) for loss, size in zip(read, sizes, strict=True)), length


def _overflowed(scaler: torch.amp.GradScaler) -> bool:
    """Return whether a gradient that is not finite may be an overflow of float16.

    Then the step is skipped and the scale halved. At a scale of 1 or less the scaling is not the cause.
    """
    return scaler.is_enabled() and scaler.get_scale() > 1


def _device_memory(agent: DualAgent) -> dict[str, float]:
    """Return the peak since the last call, if the device keeps count."""
    device = next(agent.parameters()).device
    if device.type != "cuda":
        return {}
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return {DEVICE_BYTES: float(peak)}


def _learning_rate(schedule: torch.optim.lr_scheduler.LambdaLR) -> float:
    """Return the rate of the last group: the encoder's upper layers, or the heads if only they train."""
    return float(schedule.get_last_lr()[-1])


def _gradient_norm(agent: nn.Module, clip_norm: float | None) -> torch.Tensor:
    trained = [parameter for parameter in agent.parameters() if parameter.grad is not None]
    limit = math.inf if clip_norm is None else clip_norm
    return nn.utils.clip_grad_norm_(trained, limit)


def _stopped_early(progress: Progress, config: TrainingConfig) -> bool:
    patience = config.early_stopping_patience
    return patience is not None and progress.saves_since_best >= patience


def _snapshot(
    trainer: Trainer, state: TrainingState, metrics: Mapping[str, float | None], snapshots: Snapshots
) -> Checkpoint:
    captured = state.capture()
    model, optimizer, detached = snapshots.take(captured.model, captured.optimizer)
    identity, progress = trainer.identity, state.progress
    return Checkpoint(
        study=identity.study,
        trial=identity.trial,
        trial_id=identity.trial_id,
        attempt=identity.attempt,
        epoch=progress.epoch,
        step=progress.step,
        value=metrics.get(trainer.metric),
        is_best=progress.is_best,
        metrics=metrics,
        model=model,
        optimizer=optimizer,
        state=captured.scalars,
        signature=trainer.agent.signature(),
        data_fingerprint=identity.data_fingerprint,
        detached=detached,
        receipt=Receipt(awaited=True),
    )
