"""The search: trials one at a time, each to its end, until the study is over.

A generator of checkpoints: whoever drives it saves them. All that a run opens is closed here, also when
a save fails or a signal ends the run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FrozenTrial

from thriftune.checkpoints.checkpoint import Checkpoint, Receipt
from thriftune.checkpoints.monitor import DiskMonitor
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import Parameters
from thriftune.corpus.store import Corpus
from thriftune.corpus.tokens import TokenisedStore, check_layout
from thriftune.databases.location import mlflow_uri
from thriftune.errors import InterruptedRunError, TakenOverError
from thriftune.evaluation.metrics import produced_metrics
from thriftune.forecast.corpus_size import CorpusSize
from thriftune.forecast.estimate import forecast_line, forecast_row, surroundings
from thriftune.forecast.model_size import model_bytes
from thriftune.observe.logs import log_context
from thriftune.observe.progress import StudyProgress
from thriftune.reports.overhead import PAGE as OVERHEAD_PAGE
from thriftune.reports.overhead import Meter, read_summary, write_overhead
from thriftune.runner.failures import check_failures, failure_reason, give_back_memory
from thriftune.runner.limits import TrainingTime, ending, what_ended
from thriftune.runner.preflight import check_configuration, check_metric, require_mounted
from thriftune.runner.trial import Outcome, Setting, Start, run_trial
from thriftune.search.optuna_study import OptunaStudy, TrialHandle, UncertainError
from thriftune.search.restore import restore_missing
from thriftune.study.file_locks import TRIALS, Ownership, guard_of, running_elsewhere
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import study_identity
from thriftune.study.layout import JOURNAL, journals_of, trial_folder
from thriftune.study.marker import set_marker
from thriftune.study.record import (
    check_arbiter,
    open_or_create,
    recorded_threads,
    require_record,
    trial_params,
    write_record,
)
from thriftune.tracking.delivery import study_delivery, undelivered
from thriftune.tracking.journal import Journal, trial_seconds
from thriftune.tracking.parent import connect
from thriftune.tracking.sender import Sender
from thriftune.tracking.study_progress import Milestones
from thriftune.training.inputs import Prepared, encoder_for, layout_of
from thriftune.training.interrupt import StopFlag, stop_on_signal
from thriftune.training.seeding import configure_determinism, resolve_device, warn_of_cpu

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""Between two looks at whether another worker's trial is anybody's."""
DRAIN_SECONDS = 60.0
DRAIN_AFTER_SIGNAL_SECONDS = 0.5, 1.5


def run_search(
    parameters: Parameters, corpus: Corpus, study: StudyHandle, store: CheckpointStore
) -> Iterator[Checkpoint]:
    """Run the trials that are left; says so in one line where none is."""
    check_configuration(parameters, Path())
    check_metric(parameters.study.metric, produced_metrics(parameters.model, corpus.criteria))
    require_mounted(study)
    device = resolve_device(parameters.training.device)
    warn_of_cpu(parameters.training.device)
    threads = recorded_threads(study.folder, parameters.training.threads)
    configure_determinism(threads, device)
    encoder = encoder_for(parameters, corpus)
    check_layout(encoder.tokenizer, layout_of(parameters, corpus.criteria))
    row = None
    if parameters.storage.checkpointing and (study.record() is None or study.is_parallel):
        weights = model_bytes(parameters, corpus, encoder)
        row = forecast_row(parameters, weights, surroundings(parameters, Path(), CorpusSize.of(corpus)))
        store.require_budget(row["least_budget_bytes"])
        if study.record() is None:
            log.info("%s", forecast_line(row))
    with ExitStack() as stack:
        flag = stack.enter_context(stop_on_signal())
        ownership = stack.enter_context(study.ownership(waiting=flag.check))
        stack.enter_context(store.owned(ownership.check, guard_of(ownership)))
        stack.enter_context(log_context(study=study.id))
        identity = study_identity(parameters, corpus.fingerprint, encoder.fingerprint, device.type, threads)
        data = {
            "fingerprint": corpus.fingerprint,
            "revision": dict(corpus.revision),
            "counts": dict(corpus.counts),
        }
        if store.running():
            ownership.await_owners()
        with ownership.alone(TRIALS):
            set_marker(study.models_root, study.id)
            record = open_or_create(study.folder, study.id, parameters, identity, data, ownership.arbiter)
            elsewhere = running_elsewhere(store, ownership)
            if elsewhere and row is not None:
                store.require_budget(row["least_budget_bytes"] + len(elsewhere) * row["further_worker_bytes"])
            store.start(elsewhere)
            optuna_study = OptunaStudy.of(study, parameters, flag.check)
            restore_missing(study, optuna_study, parameters)
        store.dispose_by(TokenisedStore(Path(parameters.corpus.cache)).dispose)
        stack.enter_context(DiskMonitor(store, closing=flag.seconds_left))
        stack.callback(lambda: store.drain(flag.seconds_left()))
        run = _Run(parameters, corpus, study, store, optuna_study, record, flag, device, ownership)
        run.deliver_what_is_left(stack)
        check_failures(optuna_study.finished(), record["trials"], parameters)
        if is_over(record, optuna_study):
            store.end_trial()  # a kill may have come between the last trial's end and its tidying
            if "ended" in record:
                log.info("%s", what_ended(record))
            if not (study.folder / OVERHEAD_PAGE).exists():
                run.report()
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
    ownership: Ownership
    saving: Receipt | None = None
    """Of the checkpoint that the running trial made last."""
    milestones: Milestones = field(default_factory=Milestones)
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
            lambda sink: undelivered(self.study, self.record, uri, sink, running=False),
        )
        stack.callback(self._close_sender)
        self.store.leave_room_for(self._sender.promised_bytes)

    def trials(self, stack: ExitStack) -> Iterator[Checkpoint]:
        """Every trial that is left."""
        taken = [trial_seconds(path) for path in journals_of(self.study.folder).values()]
        best = self.optuna.best()
        self._progress = StudyProgress(
            self.record["trials"],
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
                    self.store.leave_trial()
            # Not where the run ends with an error: all is given back with the study, and asks no server.
            self.ownership.give_back(handle.number)
        with self.ownership.alone(TRIALS):
            self.report()

    def report(self) -> None:
        """What the trials have cost, when all are over."""
        found = read_summary(journals_of(self.study.folder), self.parameters.storage.max_total_size)
        write_overhead(self.study.folder, self.study.name, found, self.store)

    def _next(self) -> TrialHandle | None:
        """A trial for this process; None where all are over or in other hands."""
        while True:
            try:
                return self._choose()
            except UncertainError as error:
                log.warning("%s; choosing again", error.__cause__)

    def _choose(self) -> TrialHandle | None:
        with self.ownership.alone(TRIALS):
            trials = self.optuna.trials()  # once: with a thousand of them each reading takes its time
            self.store.settle({trial.number for trial in self.optuna.finished(trials)})
            best = self.optuna.best(trials)
            self._best = None if best is None else best.value
            for number in self.store.running() - set(self.optuna.running(trials)):
                self.store.end_trial(number)  # a kill came between the trial's end and its tidying
            # One that was interrupted goes on to its own end.
            handle = self.optuna.next_trial(0, self.ownership, trials)
            if handle is None and not self._ended(trials):
                handle = self.optuna.next_trial(self.record["trials"], self.ownership, trials)
            if handle is not None and handle.attempt > 1:
                self.store.take_over(handle.number)
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
        self.store.check_attempt()

    def _trial(self, handle: TrialHandle) -> Iterator[Checkpoint]:
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
                study_delivery(self.study, self.record, journal.path, handle.number, config, self.milestones)
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
        self, handle: TrialHandle, journal: Journal, folder: Path
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

    def _decide(self, handle: TrialHandle, journal: Journal, outcome: Outcome | _Failure) -> None:
        self._check_owned()
        state, value, reason = self._state(handle, outcome)
        self._meter.trial_over(journal, handle.number)
        journal.record_once("end", state=state, value=value, reason=reason)
        journal.sync()

    def _end(self, handle: TrialHandle, journal: Journal) -> None:
        """Tell what the journal's record of the trial's end says, and tidy."""
        self._check_owned()
        end = journal.record("end")
        assert end is not None
        state, value, reason = end["state"], end["value"], end["reason"]
        self.saving = None
        if state == "pruned":
            self.optuna.tell_pruned(handle, reason or "")
        else:
            self.optuna.tell(handle, value, reason)
        self.store.end_trial(handle.number)
        self._sender.finish(journal.path, "FAILED" if state == "failed" else "FINISHED")
        if state == "complete":
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

    def _ended(self, trials: list[FrozenTrial]) -> bool:
        """Whether no further trial is to begin; a rule that ends the search is written down, once."""
        over = self.optuna.finished(trials)
        if self.ownership.shared:
            # Another worker may have extended the search, and somebody may have moved the study.
            self.record = require_record(self.study.folder)
            check_arbiter(self.record, self.study.folder, self.ownership.arbiter)
        check_failures(over, self.record["trials"], self.parameters)
        if "ended" in self.record or len(over) >= self.record["trials"]:
            return True
        best = self.optuna.best(trials)
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
