"""A study held by one process: opened in order, and closed in the reverse order whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thriftune.checkpoints.monitor import DiskMonitor
from thriftune.corpus.reference import reference_to
from thriftune.corpus.tokens import TokenisedStore
from thriftune.observe.logs import log_context
from thriftune.runner.publisher import Publisher
from thriftune.runner.trial_queue import TrialQueue
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.restore import restore_missing
from thriftune.study.file_locks import TRIALS, Ownership, running_elsewhere, storage_section
from thriftune.study.identity import flat
from thriftune.study.marker import set_marker
from thriftune.study.opening import open_or_create
from thriftune.training.interrupt import StopFlag, stop_on_signal

if TYPE_CHECKING:
    import torch

    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus.store import Corpus
    from thriftune.runner.preparation import Preparation
    from thriftune.study.handle import StudyHandle
    from thriftune.study.record import StudyRecord


@dataclass(frozen=True)
class Session:
    """What a process has while it holds a study."""

    parameters: Parameters
    corpus: Corpus
    device: torch.device
    study: StudyHandle
    store: CheckpointStore
    flag: StopFlag
    ownership: Ownership
    queue: TrialQueue
    publisher: Publisher


@contextmanager
def open_session(prepared: Preparation, study: StudyHandle, store: CheckpointStore) -> Iterator[Session]:
    """Hold a study, or a share of it, for the block.

    Args:
        prepared: The run that was checked.
        study: The study; it is created where it is missing.
        store: Its checkpoints.

    Yields:
        The study with everything that works on it.
    """
    parameters = prepared.parameters
    tokens = TokenisedStore(parameters.corpus.cache_folder)
    with (
        stop_on_signal() as flag,
        study.ownership(waiting=flag.check) as ownership,
        store.owned(ownership.check, storage_section(ownership), tokens.dispose),
        log_context(study=study.id),
    ):
        opened = _open(prepared, study, store, ownership, flag)
        with (
            DiskMonitor(store, closing=flag.seconds_left),
            _draining(store, flag),
            Publisher(parameters, study, opened[0], flag.seconds_left) as publisher,
            store.counting(publisher.pending_bytes),
        ):
            configured = flat(parameters.model_dump(mode="json"))
            queue = TrialQueue(parameters.study, configured, study, store, ownership, opened)
            yield Session(
                parameters,
                prepared.corpus,
                prepared.device,
                study,
                store,
                flag,
                ownership,
                queue,
                publisher,
            )


def _open(
    prepared: Preparation,
    study: StudyHandle,
    store: CheckpointStore,
    ownership: Ownership,
    flag: StopFlag,
) -> tuple[StudyRecord, OptunaStudy]:
    """Open the study's record and its trials, and recover what dead processes left."""
    parameters = prepared.parameters
    if store.trials.running():
        ownership.await_owners()
    with ownership.section(TRIALS):
        set_marker(study.models_root, study.id)
        data = reference_to(prepared.corpus)
        record = open_or_create(
            study.folder, study.id, parameters, prepared.identity, data, ownership.arbiter
        )
        elsewhere = running_elsewhere(store, ownership)
        if elsewhere and prepared.forecast is not None:
            others = len(elsewhere) * prepared.forecast.further_worker_bytes
            store.require_budget(prepared.forecast.least_budget_bytes + others)
        store.trials.recover_all(elsewhere)
        optuna_study = OptunaStudy.open(study, parameters, flag.check)
        restore_missing(study, optuna_study, parameters)
    return record, optuna_study


@contextmanager
def _draining(store: CheckpointStore, flag: StopFlag) -> Iterator[None]:
    try:
        yield
    finally:
        store.drain(flag.seconds_left())
