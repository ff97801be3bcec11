"""The search: trials one at a time, each to its end, until the study is over.

A generator of checkpoints: whoever drives it saves them. All that a run opens is closed here, also when
a save fails or a signal ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from thriftune.checkpoints.checkpoint import Checkpoint
from thriftune.checkpoints.monitor import DiskMonitor
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import Parameters
from thriftune.corpus.reference import reference_to
from thriftune.corpus.store import Corpus
from thriftune.corpus.tokens import TokenisedStore, check_layout
from thriftune.evaluation.metrics import produced_metrics
from thriftune.forecast.corpus_size import CorpusSize
from thriftune.forecast.estimate import forecast_inputs, forecast_study, forecast_summary
from thriftune.forecast.model_size import model_bytes
from thriftune.observe.logs import log_context
from thriftune.runner.failures import check_failures
from thriftune.runner.limits import describe_stop, is_over
from thriftune.runner.preflight import check_configuration, check_metric, require_mounted
from thriftune.runner.worker import Worker
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.restore import restore_missing
from thriftune.study.file_locks import TRIALS, guard_of, running_elsewhere
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import study_identity
from thriftune.study.marker import set_marker
from thriftune.study.opening import open_or_create
from thriftune.study.record import recorded_threads
from thriftune.training.inputs import encoder_for, layout_of
from thriftune.training.interrupt import stop_on_signal
from thriftune.training.seeding import configure_determinism, resolve_device, warn_of_cpu

log = logging.getLogger(__name__)


def run_search(
    parameters: Parameters, corpus: Corpus, study: StudyHandle, store: CheckpointStore
) -> Iterator[Checkpoint]:
    """Run the trials that are left; says so in one line where none is."""
    check_configuration(parameters)
    check_metric(parameters.study.metric, produced_metrics(parameters.model, corpus.criteria))
    require_mounted(study)
    device = resolve_device(parameters.training.device)
    warn_of_cpu(parameters.training.device)
    threads = recorded_threads(study.folder, parameters.training.threads)
    configure_determinism(threads, device)
    encoder = encoder_for(parameters, corpus)
    check_layout(encoder.tokenizer, layout_of(parameters, corpus.criteria))
    expected = None
    if parameters.storage.checkpointing and (study.record() is None or study.is_parallel):
        weights = model_bytes(parameters, corpus, encoder)
        inputs = forecast_inputs(parameters, CorpusSize.of(corpus), weights)
        expected = forecast_study(parameters, inputs)
        store.require_budget(expected.least_budget_bytes)
        if study.record() is None:
            log.info("%s", forecast_summary(expected))
    with ExitStack() as stack:
        flag = stack.enter_context(stop_on_signal())
        tokens = TokenisedStore(Path(parameters.corpus.cache))
        ownership = stack.enter_context(study.ownership(waiting=flag.check))
        stack.enter_context(store.owned(ownership.check, guard_of(ownership), tokens.dispose))
        stack.enter_context(log_context(study=study.id))
        identity = study_identity(parameters, corpus.fingerprint, encoder.fingerprint, device.type, threads)
        data = reference_to(corpus)
        if store.trials.running():
            ownership.await_owners()
        with ownership.alone(TRIALS):
            set_marker(study.models_root, study.id)
            record = open_or_create(study.folder, study.id, parameters, identity, data, ownership.arbiter)
            elsewhere = running_elsewhere(store, ownership)
            if elsewhere and expected is not None:
                further_bytes = len(elsewhere) * expected.further_worker_bytes
                store.require_budget(expected.least_budget_bytes + further_bytes)
            store.trials.recover_all(elsewhere)
            optuna_study = OptunaStudy.of(study, parameters, flag.check)
            restore_missing(study, optuna_study, parameters)
        stack.enter_context(DiskMonitor(store, closing=flag.seconds_left))
        stack.callback(lambda: store.drain(flag.seconds_left()))
        run = Worker(parameters, corpus, study, store, optuna_study, record, flag, device, ownership)
        run.deliver_what_is_left(stack)
        check_failures(optuna_study.finished(), record.trials, parameters)
        if is_over(record, optuna_study):
            store.trials.finish_all()  # a kill may have come between the last trial's end and its tidying
            if record.ended is not None:
                log.info("%s", describe_stop(record.ended, record.trials))
        else:
            yield from run.trials(stack)
