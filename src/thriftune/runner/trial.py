"""One trial: build, resume or start, train, validate, tell, tidy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml

from thriftune import files
from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.manifest import Manifest
from thriftune.checkpoints.store import CheckpointStore
from thriftune.checkpoints.stored import LoadedCheckpoint
from thriftune.config import Parameters
from thriftune.corpus.reference import reference_to
from thriftune.corpus.store import Corpus
from thriftune.evaluation.metrics import curves
from thriftune.evaluation.record import Figures, TrialReport
from thriftune.evaluation.report import write_trial_report
from thriftune.model.encoder import Encoder
from thriftune.model.trainable import DualAgent
from thriftune.observe.stopwatch import Stopwatch
from thriftune.process import settle
from thriftune.runner.limits import out_of_time
from thriftune.search.trials import RunningTrial
from thriftune.study.identity import save_interval, trial_id
from thriftune.study.layout import CONFIG, REPORT, read_config
from thriftune.tracking.journal import Journal
from thriftune.training.inputs import Prepared, build_agent, class_weights, collator_for, signature_of
from thriftune.training.loop import Identity, Trainer, train
from thriftune.training.state import Resume
from thriftune.training.validation import Validation, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """What all trials of a run share."""

    study_id: str
    study_name: str
    corpus: Corpus
    store: CheckpointStore
    device: torch.device
    check_signals: Callable[[], None]
    check_owned: Callable[[], None]
    """Raises where another process has the trial by now."""
    on_step: Callable[[int, int], None]
    prepared: Prepared
    clock: Callable[[], float] = time.monotonic
    training: Stopwatch = field(default_factory=Stopwatch)
    """Runs while a trial gets its model and data, trains, validates, and waits for bytes to be written."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: the value of its best saved epoch, and why it ended early, if it did: by the
    pruner, or because its time was up."""

    value: float | None
    pruned: str | None
    timed_out: str | None = None


@dataclass(frozen=True)
class Start:
    """Where a trial begins or goes on."""

    attempt: int
    epoch: int
    """The epoch of the checkpoint that it goes on from; 0: from its beginning."""
    step: int
    logged_step: int
    """The last optimizer step that the journal has of an earlier attempt; 0 where there is none."""
    checkpointing: bool

    def __str__(self) -> str:
        if self.attempt == 1:
            return "starts"
        again = ""
        if self.logged_step > self.step:
            again = f"; steps {self.step + 1} to {self.logged_step} at least are made again"
        if self.epoch:
            return f"goes on after epoch {self.epoch} (step {self.step}), its newest whole checkpoint{again}"
        reason = "it has no whole checkpoint" if self.checkpointing else "checkpoints are switched off"
        return f"starts again from its beginning, since {reason}{again}"


def run_trial(
    handle: RunningTrial,
    setting: Setting,
    journal: Journal,
    folder: Path,
    on_start: Callable[[Start], None],
    on_saved: Callable[[Checkpoint], None],
) -> Generator[Checkpoint, None, Outcome]:
    """Train a trial to its end; the generator's return value is its Outcome.

    Yields each checkpoint and goes on once it is committed. After an interruption the newest valid
    checkpoint is where it goes on; without one it begins anew.
    """
    parameters, store = handle.parameters, setting.store
    _write_config(folder / CONFIG, parameters)
    saved = parameters.storage.checkpointing
    metric = f"validation/{parameters.study.metric}"
    interval = save_interval(parameters)
    # Reading and hashing leave the interpreter's lock, so the model is made beside them.
    with ThreadPoolExecutor(1, "checkpoint-reader") as beside:
        reading = beside.submit(copy_context().run, store.newest, handle.number) if saved else None
        with setting.training:
            encoder = setting.prepared.encoder(parameters)
            agent = build_agent(parameters, encoder, setting.corpus.criteria).to(setting.device)
        loaded = None if reading is None else reading.result()
    if loaded is not None:
        store.check(loaded.entry, signature_of(agent))
    if loaded is not None and not journal.has(metric, loaded.entry.manifest.epoch):
        log.warning(
            "trial %d has checkpoints and no journal that reaches them: it starts anew", handle.number
        )
        store.trials.set_aside(handle.number)
        loaded = None
    # Optuna's count starts again where its database was made anew; the store's does not.
    attempt = max(handle.attempt, store.trials.next_attempt(handle.number))
    store.trials.begin(handle.number, None if loaded is None else loaded.entry, attempt)
    on_start(_start(attempt, journal, loaded, checkpointing=saved))
    pruned = _catch_up(handle, journal, metric, interval, loaded)
    timed_out = None
    if loaded is not None:
        timed_out = _out_of_time(parameters, journal, loaded.entry.manifest)
    report = _Report(handle, setting, folder / REPORT)
    trainer = _trainer(handle, setting, agent, encoder, journal, report, attempt)
    if pruned is None and timed_out is None:
        settle()  # all that is needed was imported
        for checkpoint in setting.training.over(train(trainer, _resume(loaded))):
            setting.check_owned()
            report.write_if_best(checkpoint)
            journal.sync()
            if saved:
                with setting.training:
                    yield checkpoint
                checkpoint.receipt.check()
            else:
                store.require_room()  # metrics count against the budget too
                checkpoint.receipt.commit()
            on_saved(checkpoint)
            pruned = _report(handle, checkpoint.epoch, checkpoint.value)
            timed_out = _out_of_time(parameters, journal, checkpoint)
            if pruned is not None or timed_out is not None:
                with setting.training:
                    checkpoint.receipt.wait()
                break
    return Outcome(_best_saved(journal, metric, interval), pruned, timed_out)


@dataclass(frozen=True)
class Finished:
    """A trial that is over, to be trained again for its weights."""

    number: int
    parameters: Parameters


def retrain(trial: Finished, setting: Setting, journal: Journal, folder: Path, epoch: int) -> None:
    """Make the checkpoint of one epoch of a finished trial again: same configuration, same weights.

    The journal's rows stand; nothing is told to Optuna.
    """
    encoder = setting.prepared.encoder(trial.parameters)
    agent = build_agent(trial.parameters, encoder, setting.corpus.criteria).to(setting.device)
    attempt = setting.store.trials.next_attempt(trial.number)
    setting.store.trials.begin(trial.number, attempt=attempt)
    report = _Report(trial, setting, folder / REPORT)
    for checkpoint in train(_trainer(trial, setting, agent, encoder, journal, report, attempt)):
        if checkpoint.epoch < epoch:
            checkpoint.receipt.commit()
            continue
        setting.store.submit(checkpoint)
        checkpoint.receipt.wait()
        break
    setting.store.trials.finish(trial.number)


def _start(attempt: int, journal: Journal, loaded: LoadedCheckpoint | None, *, checkpointing: bool) -> Start:
    steps = journal.steps("train/loss")
    manifest = None if loaded is None else loaded.entry.manifest
    return Start(
        attempt,
        manifest.epoch if manifest else 0,
        manifest.step if manifest else 0,
        steps[-1] if steps else 0,
        checkpointing,
    )


def _catch_up(
    handle: RunningTrial, journal: Journal, metric: str, interval: int, loaded: LoadedCheckpoint | None
) -> str | None:
    """Report to the pruner what a kill may have kept from it; the decision that was due, if any."""
    pruned = None
    last = 0 if loaded is None else loaded.entry.manifest.epoch
    for epoch in range(interval, last + 1, interval):
        pruned = _report(handle, epoch, journal.value(metric, epoch))
    return pruned


def _report(handle: RunningTrial, epoch: int, value: float | None) -> str | None:
    if value is None:
        return None
    handle.report(epoch, value)
    return f"pruned after epoch {epoch}" if handle.should_prune() else None


def _out_of_time(parameters: Parameters, journal: Journal, saved: Checkpoint | Manifest) -> str | None:
    if saved.epoch >= parameters.training.epochs:
        return None
    return out_of_time(journal, parameters.study.trial_timeout, saved.epoch, saved.step)


def _best_saved(journal: Journal, metric: str, interval: int) -> float | None:
    values = [journal.value(metric, epoch) for epoch in journal.steps(metric) if epoch % interval == 0]
    return max((value for value in values if value is not None), default=None)


def _resume(loaded: LoadedCheckpoint | None) -> Resume | None:
    if loaded is None:
        return None
    manifest = loaded.entry.manifest
    return Resume(manifest.epoch, manifest.step, loaded.model, loaded.optimizer, loaded.state)


def _trainer(
    handle: RunningTrial | Finished,
    setting: Setting,
    agent: DualAgent,
    encoder: Encoder,
    journal: Journal,
    report: _Report,
    attempt: int,
) -> Trainer:
    parameters, corpus = handle.parameters, setting.corpus
    with setting.training:
        train_rows = setting.prepared.rows(parameters, encoder, "train")
        validation_rows = setting.prepared.rows(parameters, encoder, "validation")
        collator = collator_for(parameters, corpus, encoder)

    def validated(agent: DualAgent) -> Mapping[str, float | None]:
        report.last = validate(
            agent,
            validation_rows,
            collator,
            parameters.evaluation.batch_size,
            setting.check_signals,
        )
        flat, metric = report.last.flat, parameters.study.metric
        return flat if parameters.tracking.figures == "all" else curves(flat, metric)

    def on_step(step: int, steps: int) -> None:
        setting.on_step(step, steps)
        setting.check_signals()

    return Trainer(
        agent=agent,
        rows=train_rows,
        collator=collator,
        positive_weights=class_weights(parameters, train_rows, setting.device),
        training=parameters.training,
        metric=parameters.study.metric,
        seed=parameters.study.seed,
        save_every_epochs=save_interval(parameters),
        identity=Identity(
            setting.study_id,
            handle.number,
            trial_id(parameters),
            corpus.fingerprint,
            attempt,
        ),
        validate=validated,
        log=journal,
        on_step=on_step,
        log_every_steps=parameters.tracking.log_every_steps,
        overlap=parameters.storage.overlap and parameters.storage.checkpointing,
        clock=setting.clock,
    )


def _write_config(path: Path, parameters: Parameters) -> None:
    """Once in the trial's life; a damaged one is written again."""
    found = read_config(path)
    if found is not None and trial_id(found) == trial_id(parameters):
        return
    if path.exists():
        log.warning("%s was no configuration of this trial; it is written again", path)
    text = yaml.safe_dump(parameters.model_dump(mode="json"), sort_keys=False)
    files.write_bytes(path, text.encode("utf-8"))


class _Report:
    """The validation report of the trial's best saved epoch, written before its checkpoint commits,
    so that a committed best always has one."""

    def __init__(self, handle: RunningTrial | Finished, setting: Setting, path: Path) -> None:
        self._handle, self._setting, self._path = handle, setting, path
        self.last: Validation | None = None

    def write_if_best(self, checkpoint: Checkpoint) -> None:
        """Write unless an earlier epoch was as good."""
        best = checkpoint.state["best_value"]
        is_first_best = checkpoint.value == best and checkpoint.state["saves_since_best"] == 0
        if self.last is None or (self._path.exists() and not is_first_best):
            return
        parameters = self._handle.parameters
        write_trial_report(
            self._path,
            TrialReport(
                study_id=self._setting.study_id,
                study_name=self._setting.study_name,
                trial=self._handle.number,
                trial_id=trial_id(parameters),
                epoch=checkpoint.epoch,
                optimization_metric=parameters.study.metric,
                validation_score=checkpoint.value,
                validation_metrics=Figures.from_json(self.last.figures),
                thresholds={name: tuple(values) for name, values in self.last.thresholds.items()},
                config=parameters.model_dump(mode="json"),
                data=reference_to(self._setting.corpus),
                seeds={"study": parameters.study.seed},
                warnings=tuple(self.last.warnings),
            ),
        )
