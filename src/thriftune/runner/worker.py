"""One process at work on a study: trial after trial, until the study is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from thriftune.checkpoints.checkpoint import Checkpoint, Receipt
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import Parameters
from thriftune.corpus.store import Corpus
from thriftune.databases.location import mlflow_uri
from thriftune.errors import InterruptedRunError, TakenOverError
from thriftune.observe.logs import log_context
from thriftune.runner.failures import check_failures, failure_reason, give_back_memory
from thriftune.runner.limits import TrainingTime, describe_stop, is_over, stop_reached
from thriftune.runner.meter import Meter
from thriftune.runner.progress import StudyProgress
from thriftune.runner.trial import Outcome, Setting, Start, run_trial
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.storage_errors import UnknownOutcomeError
from thriftune.search.trials import FrozenTrial, RunningTrial
from thriftune.study.file_locks import TRIALS, Ownership
from thriftune.study.handle import StudyHandle
from thriftune.study.layout import JOURNAL, journals_of, trial_folder
from thriftune.study.opening import check_arbiter
from thriftune.study.record import StudyRecord, require_record, write_record
from thriftune.study.shown import trial_params
from thriftune.tracking.delivery import pending_deliveries, trial_delivery
from thriftune.tracking.journal import Journal
from thriftune.tracking.parent import connect
from thriftune.tracking.records import EndRecord, trial_seconds
from thriftune.tracking.sender import Sender
from thriftune.tracking.study_progress import StudyProgressLog
from thriftune.training.inputs import Prepared
from thriftune.training.interrupt import StopFlag

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""Between two looks at whether another worker's trial is anybody's."""
DRAIN_SECONDS = 60.0
DRAIN_AFTER_SIGNAL_SECONDS = 0.5, 1.5


@dataclass
class Worker:
    """One process at work on one study."""

    parameters: Parameters
    corpus: Corpus
    study: StudyHandle
    store: CheckpointStore
    optuna: OptunaStudy
    record: StudyRecord
    flag: StopFlag
    device: torch.device
    ownership: Ownership
    saving: Receipt | None = None
    """Of the checkpoint that the running trial made last."""
    milestones: StudyProgressLog = field(default_factory=StudyProgressLog)
    _best: float | None = None
    """The best value so far; of other workers' trials as of the last choice."""
    _waiting: bool = False

    def deliver_what_is_left(self, stack: ExitStack) -> None:
        """Start the sender on what an earlier process could not send to the end."""
        root = Path.cwd()
        uri = mlflow_uri(self.parameters.tracking, root)
        self._sender = Sender(
            lambda: connect(self.parameters, root),
            uri,
            lambda sink: pending_deliveries(self.study, self.record, uri, sink, running=False),
        )
        stack.callback(self._close_sender)
        stack.enter_context(self.store.counting(self._sender.promised_bytes))

    def trials(self, stack: ExitStack) -> Iterator[Checkpoint]:
        """Every trial that is left."""
        taken = [trial_seconds(path) for path in journals_of(self.study.folder).values()]
        best = self.optuna.best()
        self._progress = StudyProgress(
            self.record.trials,
            self.parameters.storage.max_total_size,
            [seconds for seconds in taken if seconds is not None],
            None if best is None else best.value,
            held_bytes=self.store.held_bytes(),
        )
        self._prepared, self._meter = Prepared(self.corpus), Meter(self.store, self.flag.clock)
        stack.callback(self._progress.close)
        self._time = TrainingTime(lambda: journals_of(self.study.folder))
        while True:
            handle = self._next()
            if handle is None:
                if is_over(self.record, self.optuna):
                    break
                self._wait()
                continue
            with log_context(trial=handle.number):
                try:
                    yield from self._trial(handle)
                except TakenOverError as error:
                    log.warning("%s", error)
                    self.store.trials.abandon()
            # Not where the run ends with an error: all is given back with the study, and asks no server.
            self.ownership.give_back(handle.number)

    def _next(self) -> RunningTrial | None:
        """A trial for this process; None where all are over or in other hands."""
        while True:
            try:
                return self._choose()
            except UnknownOutcomeError as error:
                log.warning("%s; choosing again", error.__cause__)

    def _choose(self) -> RunningTrial | None:
        with self.ownership.alone(TRIALS):
            trials = self.optuna.trials()  # once: with a thousand of them each reading takes its time
            self.store.trials.mark_finished({trial.number for trial in self.optuna.finished(trials)})
            best = self.optuna.best(trials)
            self._best = None if best is None else best.value
            for number in self.store.trials.running() - set(self.optuna.running(trials)):
                self.store.trials.finish(number)  # a kill came between the trial's end and its tidying
            # One that was interrupted goes on to its own end.
            handle = self.optuna.next_trial(0, self.ownership, trials)
            if handle is None and not self._ended(trials):
                handle = self.optuna.next_trial(self.record.trials, self.ownership, trials)
            if handle is not None and handle.attempt > 1:
                self.store.trials.recover(handle.number)
            return handle

    def _wait(self) -> None:
        """No trial is left to begin. Others are at work, and one whose owner dies is taken over."""
        if not self._waiting:
            self._waiting = True
            log.info(
                "no trial is left to begin; other workers have %s: waiting, to take over from one that dies",
                ", ".join(map(str, self.optuna.running())) or "one that is being begun",
            )
        deadline = time.monotonic() + POLL_SECONDS
        while time.monotonic() < deadline:
            self.flag.check()
            time.sleep(0.1)

    def _elsewhere(self) -> tuple[int, int]:
        """Trials of other workers, (over since this one began, under way)."""
        if not self.ownership.shared:
            return 0, 0
        return len(self.optuna.finished()) - len(self._progress.taken) - 1, len(self.optuna.running())

    def _check_owned(self) -> None:
        self.ownership.check()
        self.store.trials.check()

    def _trial(self, handle: RunningTrial) -> Iterator[Checkpoint]:
        folder = trial_folder(self.study.folder, handle.number, handle.trial_id)
        adopted = self.ownership.shared and handle.attempt > 1
        journal = Journal(folder / JOURNAL, self.ownership.check_quickly, taken_over=adopted)
        try:
            journal.record_once(
                "start",
                trial=handle.number,
                trial_id=handle.trial_id,
                overrides=dict(handle.overrides),
                sampler=dict(handle.sampler_attrs),
            )
            config = trial_params(handle.parameters, handle.overrides if handle.refused else None)
            self._sender.watch(
                trial_delivery(self.study, self.record, journal.path, handle.number, config, self.milestones)
            )
            if journal.record("end") is None:  # else only a kill kept it from being told
                outcome = yield from self._guarded(handle, journal, folder)
                self._decide(handle, journal, outcome)
            self._end(handle, journal)
        except TakenOverError:
            self._sender.forget(journal.path)
            raise
        except BaseException as error:
            interrupted = isinstance(error, InterruptedRunError | GeneratorExit)
            self._sender.finish(journal.path, "KILLED" if interrupted else "FAILED")
            raise
        finally:
            journal.close()

    def _guarded(
        self, handle: RunningTrial, journal: Journal, folder: Path
    ) -> Generator[Checkpoint, None, Outcome | _Failure]:
        setting = Setting(
            self.study.id,
            self.study.name,
            self.corpus,
            self.store,
            self.device,
            check_signals=self.flag.check,
            check_owned=self._check_owned,
            on_step=self._progress.step,
            prepared=self._prepared,
            clock=self.flag.clock,
            training=self._meter.training,
        )

        def on_start(start: Start) -> None:
            self._meter.goes_on(journal, start.epoch)
            self._progress.trial(handle.number, handle.parameters.training.epochs, str(start))

        try:
            if handle.refused is not None:
                raise handle.refused
            return (
                yield from run_trial(
                    handle,
                    setting,
                    journal,
                    folder,
                    on_start=on_start,
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

    def _decide(self, handle: RunningTrial, journal: Journal, outcome: Outcome | _Failure) -> None:
        self._check_owned()
        state, value, reason = self._state(handle, outcome)
        self._meter.trial_over(journal, handle.number)
        journal.record_once("end", state=state, value=value, reason=reason)
        journal.sync()

    def _end(self, handle: RunningTrial, journal: Journal) -> None:
        """Tell what the journal's record of the trial's end says, and tidy."""
        self._check_owned()
        record = journal.record("end")
        assert record is not None
        end = EndRecord.from_record(record)
        state, value, reason = end.state, end.value, end.reason
        self.saving = None
        if state == "pruned":
            self.optuna.tell_pruned(handle, reason or "")
        else:
            self.optuna.tell(handle, value, reason)
        self.store.trials.finish(handle.number)
        self._sender.finish(journal.path, "FAILED" if state == "failed" else "FINISHED")
        if state == "complete" and value is not None:
            self._best = value if self._best is None else max(value, self._best)
        self._progress.trial_done(
            handle.number,
            state,
            value,
            self._best,
            trial_seconds(journal.path) or 0.0,
            self._elsewhere(),
        )

    def _state(
        self, handle: RunningTrial, outcome: Outcome | _Failure
    ) -> tuple[str, float | None, str | None]:
        """(complete, pruned or failed; value; reason). A trial that holds the study's best is
        complete, whatever became of it."""
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

    def _ended(self, trials: list[FrozenTrial]) -> bool:
        """Whether no further trial is to begin; a rule that ends the search is written down, once."""
        over = self.optuna.finished(trials)
        if self.ownership.shared:
            # Another worker may have extended the search, and somebody may have moved the study.
            self.record = require_record(self.study.folder)
            check_arbiter(self.record, self.study.folder, self.ownership.arbiter)
        check_failures(over, self.record.trials, self.parameters)
        if self.record.ended is not None or len(over) >= self.record.trials:
            return True
        best = self.optuna.best(trials)
        stop = stop_reached(
            self.parameters.study,
            self.record.extended,
            finished=len(over),
            best_trial=None if best is None else best.number,
            training_seconds=self._time.seconds,
        )
        if stop is None:
            return False
        self.record = self.record.model_copy(update={"ended": stop})
        write_record(self.study.folder, self.record)
        log.info("%s", describe_stop(stop, self.record.trials))
        return True

    def _close_sender(self) -> None:
        left_of_grace, seconds = self.flag.seconds_left(), DRAIN_SECONDS
        if left_of_grace is not None:
            shortest, longest = DRAIN_AFTER_SIGNAL_SECONDS
            seconds = max(shortest, min(longest, left_of_grace))
        left = self._sender.close(seconds)
        if self._sender.is_gone:
            log.warning(
                "all metric rows of the study wait in the journals; the next run or `thriftune tracking "
                "flush` sends them"
            )
        elif left:
            log.warning(
                "%d metric rows wait in the journals; the next run or `thriftune tracking flush` sends them",
                left,
            )


@dataclass(frozen=True)
class _Failure:
    """A trial that broke down."""

    reason: str
