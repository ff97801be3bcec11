"""The study's best checkpoint for the test evaluation, trained again where it is damaged."""

from __future__ import annotations

import logging

from thriftune.checkpoints.recovery import quarantine
from thriftune.checkpoints.store import CheckpointStore
from thriftune.checkpoints.stored import StoredCheckpoint
from thriftune.config import Parameters, override
from thriftune.corpus.store import Corpus
from thriftune.errors import DamageError, StudyError
from thriftune.evaluation.record import EvaluationRecord
from thriftune.runner.trial import Finished, Setting, retrain
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.trials import FrozenTrial, trial_row
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import trial_id
from thriftune.study.layout import JOURNAL, trial_folder
from thriftune.tracking.journal import Journal
from thriftune.training.inputs import Prepared
from thriftune.training.interrupt import StopFlag
from thriftune.training.seeding import resolve_device

log = logging.getLogger(__name__)


def best_checkpoints(
    parameters: Parameters,
    study: StudyHandle,
    optuna_study: OptunaStudy,
    store: CheckpointStore,
    corpus: Corpus,
    flag: StopFlag,
) -> list[StoredCheckpoint]:
    """The study's best and its exact ties, each verified. A damaged one is set aside; where no valid copy of
    the best is left, its trial is trained again; a tie never takes its place."""
    best = optuna_study.best()
    if best is None:
        raise StudyError(
            f"no trial of the study {study.name!r} has ended with a value",
            where=str(study.folder),
            remedy="look at `thriftune study show` for why they failed.",
        )
    epoch = _best_epoch(best)
    for again in (False, True):
        ties = [entry for entry in store.co_best() if _is_sound(store, entry)]
        if any(e.info.key == (best.number, epoch) and e.info.value == best.value for e in ties):
            return ties
        if not again:
            own = config_of(parameters, optuna_study, best.number)
            _make_again(own, study, store, corpus, flag, best, epoch)
    raise DamageError(
        f"trial {best.number}, trained again, did not come to its value of {best.value} again",
        where=str(study.folder),
        remedy="were torch, the number of threads or the machine changed? Evaluate where the study was run.",
    )


def _best_epoch(best: FrozenTrial) -> int | None:
    """Return the epoch whose checkpoint is the best: the earliest of equals, as retention ranks them."""
    values = best.intermediate_values
    return min((epoch for epoch, value in values.items() if value == best.value), default=None)


def _is_sound(store: CheckpointStore, entry: StoredCheckpoint) -> bool:
    try:
        store.verify(entry)
    except DamageError as error:
        quarantine(entry.path, error)
        return False
    return True


def _make_again(
    own: Parameters,
    study: StudyHandle,
    store: CheckpointStore,
    corpus: Corpus,
    flag: StopFlag,
    best: FrozenTrial,
    epoch: int | None,
) -> None:
    folder = trial_folder(study.folder, best.number, trial_id(own))
    journal = Journal(folder / JOURNAL)
    if epoch is None or (epoch, best.value) not in journal.rows(f"validation/{own.study.metric}"):
        journal.close()
        raise StudyError(
            f"no valid copy of the study's best (trial {best.number}) is left, and its journal does not say "
            "at which epoch it was made",
            where=str(folder / JOURNAL),
            remedy=f"put the journal or the checkpoint back, or `thriftune study delete {study.name}` and "
            "search again.",
        )
    log.warning(
        "no valid copy of the study's best (trial %d, epoch %d) is left: the trial is trained again",
        best.number,
        epoch,
    )
    device = resolve_device(own.training.device)
    setting = Setting(
        study.id,
        study.name,
        corpus,
        store,
        device,
        check_signals=flag.check,
        check_owned=store.trials.check,
        on_step=lambda step, steps: None,
        prepared=Prepared(corpus),
    )
    try:
        retrain(Finished(best.number, own), setting, journal, folder, epoch)
    finally:
        store.drain()
        journal.close()


def config_of(parameters: Parameters, optuna_study: OptunaStudy, trial: int) -> Parameters:
    overrides = trial_row(optuna_study.trials()[trial]).overrides
    return override(parameters, overrides)


def best_since(before: EvaluationRecord, optuna_study: OptunaStudy) -> str:
    """Return how the study's best differs from the one that was evaluated; empty where it is the same.

    Args:
        before: The evaluation on record.
        optuna_study: The study's trials, which are read now.
    """
    best = optuna_study.best()
    if best is None or best.number == before.best_trial:
        return ""
    return (
        f"the study's best has changed since it was evaluated: trial {best.number} with {best.value:.4f}, "
        f"where trial {before.best_trial} with {before.validation_score:.4f} was"
    )
