"""One trial: build, resume or start, train, validate. A finished one is retrained here too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from thriftune import files
from thriftune.process import finish_startup
from thriftune.runner.early_end import EarlyEnd
from thriftune.runner.trial_training import TrialTraining
from thriftune.study.identity import trial_id
from thriftune.study.layout import CONFIG, read_config
from thriftune.training.inputs import build_agent, signature_of
from thriftune.training.state import Resume

if TYPE_CHECKING:
    from pathlib import Path

    from thriftune.checkpoints.checkpoint import Checkpoint
    from thriftune.checkpoints.stored import LoadedCheckpoint
    from thriftune.config import Parameters
    from thriftune.model.encoder import Encoder
    from thriftune.model.trainable import DualAgent
    from thriftune.runner.context import TrialContext
    from thriftune.search.trials import RunningTrial
    from thriftune.study.trials import TrialEnd, TrialRef
    from thriftune.tracking.journal import Journal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResumePoint:
    """Where a trial starts or resumes."""

    attempt: int
    epoch: int
    """The epoch of the checkpoint that it resumes from; 0: from its beginning."""
    step: int
    logged_step: int
    """The last optimizer step that the journal has of an earlier attempt; 0 where there is none."""
    checkpointing: bool

    def __str__(self) -> str:
        if self.attempt == 1:
            return "starts"
        again = ""
        if self.logged_step > self.step:
            again = f"; at least steps {self.step + 1} to {self.logged_step} are repeated"
        if self.epoch:
            at = f"epoch {self.epoch} (step {self.step})"
            return f"resumes after {at}, from its newest valid checkpoint{again}"
        reason = "it has no valid checkpoint" if self.checkpointing else "checkpoints are switched off"
        return f"starts again from the beginning, since {reason}{again}"


def run_trial(
    trial: RunningTrial,
    context: TrialContext,
    journal: Journal,
    *,
    on_start: Callable[[ResumePoint], None],
    on_saved: Callable[[Checkpoint], None],
) -> Generator[Checkpoint, None, TrialEnd]:
    """Train a trial to its end, from its newest valid checkpoint where it was interrupted.

    Args:
        trial: The trial.
        context: What it shares with others.
        journal: Gets its metrics; its folder gets configuration and report.
        on_start: Called once it is known where training starts.
        on_saved: Called with each checkpoint once it is handed over.

    Yields:
        Each checkpoint, to be saved before the next is asked for.

    Returns:
        How the trial ended.
    """
    saved, store = trial.parameters.storage.checkpointing, context.store
    _write_config(journal.path.with_name(CONFIG), trial.parameters)
    model, loaded = _build_and_load(trial, context, journal)
    # Optuna's count starts again where its database was recreated; the store's does not.
    attempt = max(trial.attempt, store.trials.next_attempt(trial.number))
    store.trials.begin(trial.number, None if loaded is None else loaded.entry, attempt)
    on_start(_resume_point(attempt, journal, loaded, checkpointing=saved))
    early = EarlyEnd(trial, journal)
    if loaded is not None:
        early.catch_up(loaded.entry.manifest)
    training = TrialTraining(trial, context, journal, model, attempt)
    if early.is_due:
        return early.trial_end()
    finish_startup()  # all that is needed was imported
    resume = None if loaded is None else Resume.from_checkpoint(loaded)
    for checkpoint in context.stopwatch.over(training.checkpoints(resume)):
        context.check_owned()
        training.write_report_if_best(checkpoint)
        journal.sync()
        if saved:
            with context.stopwatch:
                yield checkpoint
            checkpoint.receipt.check()
        else:
            store.require_room()  # metrics count against the budget too
            checkpoint.receipt.commit()
        on_saved(checkpoint)
        early.look_at(checkpoint)
        if early.is_due:
            with context.stopwatch:
                checkpoint.receipt.wait()
            break
    return early.trial_end()


def retrain(trial: TrialRef, context: TrialContext, journal: Journal, epoch: int) -> None:
    """Train a finished trial again up to an epoch and save that one: same configuration, same weights.

    The journal's rows are kept; nothing is reported to Optuna.

    Args:
        trial: The trial.
        context: As of a trial that runs.
        journal: The trial's journal.
        epoch: The epoch whose checkpoint is saved.
    """
    encoder = context.inputs.encoder(trial.parameters)
    agent = build_agent(trial.parameters, encoder, context.corpus.criteria).to(context.device)
    attempt = context.store.trials.next_attempt(trial.number)
    context.store.trials.begin(trial.number, attempt=attempt)
    training = TrialTraining(trial, context, journal, (encoder, agent), attempt)
    for checkpoint in training.checkpoints():
        if checkpoint.epoch < epoch:
            checkpoint.receipt.commit()
            continue
        context.store.submit(checkpoint)
        checkpoint.receipt.wait()
        break
    context.store.trials.finish(trial.number)


def _build_and_load(
    trial: RunningTrial, context: TrialContext, journal: Journal
) -> tuple[tuple[Encoder, DualAgent], LoadedCheckpoint | None]:
    """Build the model, and beside that read the checkpoint to resume from."""
    parameters, store = trial.parameters, context.store
    # Reading and hashing leave the interpreter's lock.
    with ThreadPoolExecutor(1, "checkpoint-reader") as beside:
        reading = None
        if parameters.storage.checkpointing:
            reading = beside.submit(copy_context().run, store.newest, trial.number)
        with context.stopwatch:
            encoder = context.inputs.encoder(parameters)
            agent = build_agent(parameters, encoder, context.corpus.criteria).to(context.device)
        loaded = None if reading is None else reading.result()
    if loaded is not None:
        store.catalogue.check(loaded.entry, signature_of(agent))
        metric = f"validation/{parameters.study.metric}"
        if not journal.has(metric, loaded.entry.manifest.epoch):
            log.warning(
                "trial %d has checkpoints, but its journal does not reach them: it starts from the beginning",
                trial.number,
            )
            store.trials.set_aside(trial.number)
            loaded = None
    return (encoder, agent), loaded


def _resume_point(
    attempt: int, journal: Journal, loaded: LoadedCheckpoint | None, *, checkpointing: bool
) -> ResumePoint:
    steps = journal.steps("train/loss")
    manifest = None if loaded is None else loaded.entry.manifest
    return ResumePoint(
        attempt,
        manifest.epoch if manifest else 0,
        manifest.step if manifest else 0,
        steps[-1] if steps else 0,
        checkpointing,
    )


def _write_config(path: Path, parameters: Parameters) -> None:
    """Write it once in the trial's life; a damaged one is written again."""
    found = read_config(path)
    if found is not None and trial_id(found) == trial_id(parameters):
        return
    if path.exists():
        log.warning("%s was not the configuration of this trial; it is rewritten", path)
    text = yaml.safe_dump(parameters.model_dump(mode="json"), sort_keys=False)
    files.write_bytes(path, text.encode("utf-8"))
