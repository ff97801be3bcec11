"""One process works on a study: trial after trial, until the study is over."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from thriftune.errors import InterruptedRunError, TakenOverError
from thriftune.observe.logs import log_context
from thriftune.runner.context import TrialContext
from thriftune.runner.failures import failure_reason, release_memory
from thriftune.runner.meter import Meter
from thriftune.runner.session import Session
from thriftune.runner.trial import ResumePoint, run_trial
from thriftune.study.layout import JOURNAL, trial_folder
from thriftune.study.trials import TrialEnd
from thriftune.tracking.journal import Journal
from thriftune.tracking.records import EndRecord, trial_seconds
from thriftune.training.inputs import TrainingInputs

if TYPE_CHECKING:
    from thriftune.checkpoints.checkpoint import Checkpoint, Receipt
    from thriftune.runner.progress import StudyProgress
    from thriftune.search.trials import RunningTrial

log = logging.getLogger(__name__)


class Worker:
    """One process at work on one study."""

    def __init__(self, session: Session, progress: StudyProgress) -> None:
        """Prepare for trials.

        Args:
            session: The study, held by this process.
            progress: Shows how far it is.
        """
        self._session, self._progress = session, progress
        self._store, self._queue = session.store, session.queue
        self._ownership, self._publisher = session.ownership, session.publisher
        self._meter = Meter(session.store, session.flag.clock)
        self._context = TrialContext(
            session.study.id,
            session.study.name,
            session.corpus,
            session.store,
            session.device,
            TrainingInputs(session.corpus),
            check_signals=session.flag.check,
            check_owned=self._check_owned,
            on_step=progress.step,
            clock=session.flag.clock,
            stopwatch=self._meter.training,
        )
        self._saving: Receipt | None = None
        """Of the checkpoint that the running trial made last."""

    def run(self) -> Iterator[Checkpoint]:
        """Run every trial that is left.

        Yields:
            Each checkpoint, to be saved before the next is asked for.
        """
        while True:
            trial = self._queue.next()
            if trial is None:
                if self._queue.is_over():
                    return
                self._queue.wait(self._session.flag.check)
                continue
            with log_context(trial=trial.number):
                try:
                    yield from self._trial(trial)
                except TakenOverError as error:
                    log.warning("%s", error)
                    self._store.trials.abandon()
            # Not where the run ends with an error: all is released with the study, and asks no server.
            self._ownership.release(trial.number)

    def _trial(self, trial: RunningTrial) -> Iterator[Checkpoint]:
        folder = trial_folder(self._session.study.folder, trial.number, trial.trial_id)
        adopted = self._ownership.shared and trial.attempt > 1
        journal = Journal(folder / JOURNAL, self._ownership.check_quickly, taken_over=adopted)
        try:
            journal.record_once(
                "start",
                trial=trial.number,
                trial_id=trial.trial_id,
                overrides=dict(trial.overrides),
                sampler=dict(trial.sampler_attrs),
            )
            self._publisher.watch(trial, journal)
            if journal.record("end") is None:  # else only a kill kept Optuna from being updated
                end = yield from self._guarded(trial, journal)
                self._record_end(trial, journal, end)
            self._finish(trial, journal)
        except TakenOverError:
            self._publisher.forget(journal)
            raise
        except BaseException as error:
            interrupted = isinstance(error, InterruptedRunError | GeneratorExit)
            self._publisher.finish(journal, "KILLED" if interrupted else "FAILED")
            raise
        finally:
            journal.close()

    def _guarded(self, trial: RunningTrial, journal: Journal) -> Generator[Checkpoint, None, TrialEnd]:
        """Run a trial; an error of its own is its end, any other is raised."""

        def on_start(start: ResumePoint) -> None:
            self._meter.resume(journal, start.epoch)
            self._progress.trial(trial.number, trial.parameters.training.epochs, str(start))

        try:
            if trial.refused is not None:
                raise trial.refused
            return (
                yield from run_trial(trial, self._context, journal, on_start=on_start, on_saved=self._saved)
            )
        except Exception as error:
            reason = failure_reason(error, self._session.parameters.observe.redact)
            if reason is None:
                raise
        self._await_save()
        release_memory()
        log.warning("trial %d failed: %s", trial.number, reason)
        return TrialEnd("failed", reason=reason)

    def _await_save(self) -> None:
        """Wait for the write in flight of a trial that failed: it may be the study's best.

        An error of the write is raised unless it is the trial's own failure: a full disk is not.
        """
        saving, self._saving = self._saving, None
        try:
            if saving is not None:
                saving.wait()
        except Exception as error:
            if failure_reason(error, ()) is None:
                raise

    def _saved(self, checkpoint: Checkpoint) -> None:
        self._saving = checkpoint.receipt
        metric = self._session.parameters.study.metric
        self._progress.epoch(checkpoint.epoch, metric, checkpoint.value, self._store.held_bytes())

    def _record_end(self, trial: RunningTrial, journal: Journal, end: TrialEnd) -> None:
        self._check_owned()
        best = self._store.best()
        if end.state != "complete" and best is not None and best.manifest.trial == trial.number:
            # A trial that holds the study's best is complete, whatever became of it.
            value = best.manifest.value if end.value is None else end.value
            end = TrialEnd("complete", value, end.reason)
        self._meter.trial_over(journal, trial.number)
        journal.record_once("end", **end.to_record())
        journal.sync()

    def _finish(self, trial: RunningTrial, journal: Journal) -> None:
        """Tell Optuna the end that the journal records, and tidy."""
        self._check_owned()
        record = journal.record("end")
        assert record is not None
        end = EndRecord.from_record(record)
        self._saving = None
        self._queue.optuna.tell(trial, end)
        self._store.trials.finish(trial.number)
        self._publisher.finish(journal, "FAILED" if end.state == "failed" else "FINISHED")
        best = self._queue.best_value
        if end.state == "complete" and end.value is not None:
            best = end.value if best is None else max(end.value, best)
        seconds = trial_seconds(journal.path) or 0.0
        elsewhere = self._queue.elsewhere(len(self._progress.taken) + 1)
        self._progress.trial_done(trial.number, end, best, seconds, elsewhere)

    def _check_owned(self) -> None:
        self._ownership.check()
        self._store.trials.check()
