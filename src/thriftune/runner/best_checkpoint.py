"""The study's best checkpoint for the test evaluation, trained again where it is damaged."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from thriftune.checkpoints.recovery import quarantine
from thriftune.errors import DamageError, StudyError
from thriftune.runner.context import TrialContext
from thriftune.runner.trial import retrain
from thriftune.study.layout import JOURNAL, trial_folder
from thriftune.tracking.journal import Journal
from thriftune.training.inputs import TrainingInputs
from thriftune.training.seeding import resolve_device

if TYPE_CHECKING:
    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.checkpoints.stored import StoredCheckpoint
    from thriftune.evaluation.record import EvaluationRecord
    from thriftune.runner.evaluation_context import EvaluationContext
    from thriftune.search.optuna_study import OptunaStudy
    from thriftune.search.trials import FrozenTrial

log = logging.getLogger(__name__)


def best_checkpoints(context: EvaluationContext) -> list[StoredCheckpoint]:
    """Return the study's best checkpoint and its exact ties, each verified, the best first.

    A damaged one is quarantined. Where no valid copy of the best is left, its trial is trained again; a tie
    never takes its place.

    Args:
        context: The study that is evaluated.

    Raises:
        StudyError: No trial has ended with a value, or the journal of the best has no epoch of its value.
        DamageError: The best, trained again, has another value.
    """
    best = context.optuna.best()
    if best is None:
        raise StudyError(
            f"no trial of the study {context.study.name!r} has ended with a value",
            where=str(context.study.folder),
            remedy="look at `thriftune study show` for why they failed.",
        )
    epoch = _best_epoch(best)
    for trained_again in (False, True):
        ties = [entry for entry in context.store.co_best() if _is_sound(context.store, entry)]
        if any(e.info.key == (best.number, epoch) and e.info.value == best.value for e in ties):
            return ties
        if not trained_again:
            _retrain_best(context, best, epoch)
    raise DamageError(
        f"trial {best.number}, when retrained, did not reach its value of {best.value} again",
        where=str(context.study.folder),
        remedy="check whether torch, training.threads or the machine changed; evaluate where the study ran.",
    )


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
        f"the study's best has changed since it was evaluated: now trial {best.number} with "
        f"{best.value:.4f}, then trial {before.best_trial} with {before.validation_score:.4f}"
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


def _retrain_best(context: EvaluationContext, best: FrozenTrial, epoch: int | None) -> None:
    trial, study, store = context.trial(best.number), context.study, context.store
    folder = trial_folder(study.folder, trial.number, trial.trial_id)
    journal = Journal(folder / JOURNAL)
    try:
        metric = f"validation/{trial.parameters.study.metric}"
        if epoch is None or (epoch, best.value) not in journal.rows(metric):
            raise StudyError(
                f"no valid copy of the study's best (trial {trial.number}) is left, and its journal does not "
                "say which epoch it was from",
                where=str(folder / JOURNAL),
                remedy=f"restore the journal or the checkpoint, or run `thriftune study delete {study.name}` "
                "and search again.",
            )
        log.warning(
            "no valid copy of the study's best (trial %d, epoch %d) is left: the trial is retrained",
            trial.number,
            epoch,
        )
        shared = TrialContext(
            study.id,
            study.name,
            context.corpus,
            store,
            resolve_device(trial.parameters.training.device),
            TrainingInputs(context.corpus),
            check_signals=context.flag.check,
            check_owned=store.trials.check,
        )
        try:
            retrain(trial, shared, journal, epoch)
        finally:
            store.drain()
    finally:
        journal.close()
