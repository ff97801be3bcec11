"""The search: trials one at a time, each to its end, until the study is over.

A generator of checkpoints: whoever drives it saves them. All that a run opens is closed here, also when
a save fails or a signal ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from thriftune.checkpoints.checkpoint import Checkpoint, Receipt
from thriftune.checkpoints.marker import set_marker
from thriftune.checkpoints.monitor import DiskMonitor
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import Parameters
from thriftune.corpus.store import Corpus
from thriftune.corpus.tokens import TokenisedStore
from thriftune.errors import InterruptedRunError
from thriftune.evaluation.metrics import produced_metrics
from thriftune.observe.logs import log_context
from thriftune.observe.progress import StudyProgress
from thriftune.search.check import check_configuration, check_metric
from thriftune.search.delivery import journals_of, study_delivery, undelivered
from thriftune.search.failures import check_failures, failure_reason, give_back_memory
from thriftune.search.identity import study_identity
from thriftune.search.limits import TrainingTime, ending, what_ended
from thriftune.search.optuna_study import OptunaStudy, TrialHandle
from thriftune.search.outlook import forecast_line, forecast_row, model_bytes, surroundings
from thriftune.search.ownership import StudyLock
from thriftune.search.rebuild import restore_trials
from thriftune.search.record import open_or_create, recorded_threads, trial_params, write_record
from thriftune.search.study import StudyHandle, require_mounted
from thriftune.search.trial import (
    JOURNAL,
    Outcome,
    Setting,
    encoder_for,
    run_trial,
    trial_folder,
)
from thriftune.tracking.journal import Journal
from thriftune.tracking.location import mlflow_uri
from thriftune.tracking.parent import connect
from thriftune.tracking.sender import Sender
from thriftune.training.interrupt import StopFlag, stop_on_signal
from thriftune.training.seeding import configure_determinism, resolve_device

log = logging.getLogger(__name__)

DRAIN_SECONDS = 60.0
DRAIN_AFTER_SIGNAL_SECONDS = 1.5


def run_search(
    parameters: Parameters, corpus: Corpus, study: StudyHandle, store: CheckpointStore
) -> Iterator[Checkpoint]:
    """Run the trials that are left; says so in one line where none is."""
    check_configuration(parameters, Path())
    check_metric(parameters.study.metric, produced_metrics(parameters.model, corpus.criteria))
    require_mounted(study)
    device = resolve_device(parameters.training.device)
    threads = recorded_threads(study.folder, parameters.training.threads)
    configure_determinism(threads, device)
    encoder = encoder_for(parameters, corpus)
    if study.record() is None and parameters.storage.checkpointing:
        weights = model_bytes(parameters, encoder, corpus)
        row = forecast_row(parameters, weights, surroundings(parameters, Path(), corpus))
        store.require_budget(row["least_budget_bytes"])
        log.info("%s", forecast_line(row))
    with ExitStack() as stack:
        lock = stack.enter_context(StudyLock(study.folder))
        stack.enter_context(store.owned(lock.check))
        set_marker(study.models_root, study.id)
        flag = stack.enter_context(stop_on_signal())
        stack.enter_context(log_context(study=study.id))
        identity = study_identity(parameters, corpus.fingerprint, encoder.fingerprint, device.type, threads)
        data = {
            "fingerprint": corpus.fingerprint,
            "revision": dict(corpus.revision),
            "counts": dict(corpus.counts),
        }
        record = open_or_create(study.folder, study.id, parameters, identity, data)
        store.start()
        store.dispose_of(TokenisedStore(Path(parameters.corpus.cache)).unused)
        stack.enter_context(DiskMonitor(store))
        stack.callback(lambda: store.drain(flag.seconds_left()))
        optuna_study = study.optuna(parameters)
        if count := restore_trials(study, optuna_study, parameters):
            log.warning("Optuna's database did not have all of this study: %d trials are restored", count)
        run = _Run(parameters, corpus, study, store, optuna_study, record, flag, device, lock.check)
        run.deliver_what_is_left(stack)
        check_failures(optuna_study.finished(), record["trials"], parameters)
        if is_over(record, optuna_study):
            store.end_trial()  # a kill may have come between the last trial's end and its tidying
            if "ended" in record:
                log.info("%s", what_ended(record))
        else:
            yield from run.trials(stack)


def is_over(record: dict[str, Any], optuna_study: OptunaStudy) -> bool:
    """All trials are over, or a rule of the study ended the search and those that were begun are."""
    trials = optuna_study.trials()
    over = sum(trial.state.is_finished() for trial in trials)
    return over >= record["trials"] or ("ended" in record and over == len(trials))


@dataclass
class _Run:
    """One process at work on one study."""

    parameters: Parameters
    corpus: Corpus
    study: StudyHandle
    store: CheckpointStore
    optuna: OptunaStudy
    record: dict[str, Any]
    flag: StopFlag
    device: torch.device
    owned: Callable[[], None]
    """Raises where this process no longer owns the study."""
    saving: Receipt | None = None
    """Of the checkpoint that the running trial made last."""

    def deliver_what_is_left(self, stack: ExitStack) -> None:
        """Start the sender on what an earlier process could not send to the end."""
        root = Path.cwd()
        uri = mlflow_uri(self.parameters.tracking, root)
        self._sender = Sender(
            lambda: connect(self.parameters, root),
            uri,
            lambda sink: undelivered(self.study, self.record, uri, sink, running=False),
        )
        stack.callback(self._close_sender)
        self.store.leave_room_for(self._sender.promised_bytes)

    def trials(self, stack: ExitStack) -> Iterator[Checkpoint]:
        """Every trial that is left."""
        self._progress = StudyProgress(
            self.record["trials"],
            self.parameters.storage.max_total_size,
            done=len(self.optuna.finished()),
        )
        stack.callback(self._progress.close)
        self._time = TrainingTime(lambda: journals_of(self.study))
        while handle := self._next_trial():
            with log_context(trial=handle.number):
                yield from self._trial(handle)

    def _next_trial(self) -> TrialHandle | None:
        """The interrupted trial, which goes on to its own end; else a new one where the search goes on."""
        interrupted = self.optuna.next_trial(0)
        if interrupted is not None or self._ended():
            return interrupted
        return self.optuna.next_trial(self.record["trials"])

    def _trial(self, handle: TrialHandle) -> Iterator[Checkpoint]:
        folder = trial_folder(self.study.folder, handle.number, handle.trial_id)
        journal = Journal(folder / JOURNAL, self.owned)
        try:
            journal.record_once(
                "start",
                trial=handle.number,
                trial_id=handle.trial_id,
                overrides=dict(handle.overrides),
                sampler=dict(handle.sampler_attrs),
            )
            config = trial_params(handle.parameters, handle.overrides if handle.refused else None)
            self._sender.watch(study_delivery(self.study, self.record, journal.path, handle.number, config))
            if journal.record("end") is None:  # else only a kill kept it from being told
                outcome = yield from self._guarded(handle, journal, folder)
                self._decide(handle, journal, outcome)
            self._end(handle, journal)
        except BaseException as error:
            interrupted = isinstance(error, InterruptedRunError | GeneratorExit)
            self._sender.finish(journal.path, "KILLED" if interrupted else "FAILED")
            raise
        finally:
            journal.close()

    def _guarded(
        self, handle: TrialHandle, journal: Journal, folder: Path
    ) -> Generator[Checkpoint, None, Outcome | _Failure]:
        setting = Setting(
            self.study.id,
            self.study.name,
            self.corpus,
            self.store,
            self.device,
            self.flag.check,
            self._progress.step,
        )
        try:
            if handle.refused is not None:
                raise handle.refused
            return (
                yield from run_trial(
                    handle,
                    setting,
                    journal,
                    folder,
                    on_start=lambda start: self._progress.trial(
                        handle.number, handle.parameters.training.epochs, str(start)
                    ),
                    on_saved=self._saved,
                )
            )
        except Exception as error:
            reason = failure_reason(error, self.parameters.observe.redact)
            if reason is None:
                raise
        self._await_save()
        give_back_memory()
        log.warning("trial %d failed: %s", handle.number, reason)
        return _Failure(reason)

    def _await_save(self) -> None:
        """Wait for the write in flight of a trial that failed: it may be the study's best. What the write
        fails of is raised where it is not the trial's own failure, as a full disk is not."""
        saving, self.saving = self.saving, None
        try:
            if saving is not None:
                saving.wait()
        except Exception as error:
            if failure_reason(error, ()) is None:
                raise

    def _saved(self, checkpoint: Checkpoint) -> None:
        self.saving = checkpoint.receipt
        self._progress.epoch(
            checkpoint.epoch,
            self.parameters.study.metric,
            checkpoint.value,
            self.store.held_bytes(),
        )

    def _decide(self, handle: TrialHandle, journal: Journal, outcome: Outcome | _Failure) -> None:
        state, value, reason = self._state(handle, outcome)
        journal.record_once("end", state=state, value=value, reason=reason)
        journal.sync()

    def _end(self, handle: TrialHandle, journal: Journal) -> None:
        """Tell what the journal's record of the trial's end says, and tidy."""
        end = journal.record("end")
        assert end is not None
        state, value, reason = end["state"], end["value"], end["reason"]
        self.saving = None
        if state == "pruned":
            self.optuna.tell_pruned(handle, reason or "")
        else:
            self.optuna.tell(handle, value, reason)
        self.store.end_trial()
        self._sender.finish(journal.path, "FAILED" if state == "failed" else "FINISHED")
        best = self.optuna.best()
        self._progress.trial_done(handle.number, state, value, None if best is None else best.value)

    def _state(
        self, handle: TrialHandle, outcome: Outcome | _Failure
    ) -> tuple[str, float | None, str | None]:
        """(complete, pruned or failed; value; reason). A trial that holds the study's best is
        complete, whatever became of it (SPEC 6.4.1)."""
        best = self.store.best()
        holds_best = best is not None and best.manifest.trial == handle.number
        if isinstance(outcome, _Failure):
            if holds_best and best is not None:
                return "complete", best.manifest.value, outcome.reason
            return "failed", None, outcome.reason
        if outcome.value is None:
            return "failed", None, f"{self.parameters.study.metric} was undefined at every epoch"
        if outcome.pruned is not None and not holds_best:
            return "pruned", outcome.value, outcome.pruned
        return "complete", outcome.value, outcome.pruned or outcome.timed_out

    def _ended(self) -> bool:
        """Whether no further trial is to begin; a rule that ends the search is written down, once."""
        over = self.optuna.finished()
        check_failures(over, self.record["trials"], self.parameters)
        if "ended" in self.record or len(over) >= self.record["trials"]:
            return True
        best = self.optuna.best()
        ended = ending(
            self.parameters.study,
            self.record,
            len(over),
            None if best is None else best.number,
            self._time.seconds,
        )
        if ended is None:
            return False
        self.record["ended"] = ended
        write_record(self.study.folder, self.record)
        log.info("%s", what_ended(self.record))
        return True

    def _close_sender(self) -> None:
        stopped = self.flag.signal_name is not None
        left = self._sender.close(DRAIN_AFTER_SIGNAL_SECONDS if stopped else DRAIN_SECONDS)
        if left:
            log.warning(
                "%d metric rows wait in the journals; the next run or `thriftune tracking flush` sends them",
                left,
            )


@dataclass(frozen=True)
class _Failure:
    """A trial that broke down."""

    reason: str
