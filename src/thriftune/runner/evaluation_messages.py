"""What is said of a study's test evaluation: its figures, and why test is not read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from thriftune.errors import RefusedError
from thriftune.evaluation.report import EVALUATION, PAGE
from thriftune.json_records import JsonRecord, left_out_if_none
from thriftune.reports.page import headline
from thriftune.runner.best_checkpoint import best_since
from thriftune.runner.limits import is_over

if TYPE_CHECKING:
    from thriftune.evaluation.record import EvaluationRecord
    from thriftune.search.optuna_study import OptunaStudy
    from thriftune.study.handle import StudyHandle
    from thriftune.study.record import StudyRecord

log = logging.getLogger(__name__)


class NotEvaluated(JsonRecord):
    """Why a study has no test evaluation yet."""

    study_id: str
    state: Literal["unfinished", "no checkpoints"]
    trials_done: int | None = left_out_if_none()


def say_figures(study: StudyHandle, evaluation: EvaluationRecord) -> None:
    """Log the figures, and what to open.

    Args:
        study: The study.
        evaluation: Its evaluation.
    """
    figures = []
    for item in headline(evaluation):
        ends = item.interval
        interval = "" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})"
        figures.append(f"{item.name} {item.value:.3f}{interval}")
    log.info("test, %d posts: %s", evaluation.data.counts["test"], "; ".join(figures))
    log.info("evaluation: %s", study.folder / PAGE)
    log.info("every run with its curves: make mlflow; every trial: thriftune study show %s", study.name)


def say_evaluated(
    study: StudyHandle, record: StudyRecord, before: EvaluationRecord, optuna_study: OptunaStudy
) -> None:
    """Log that test is not read again, and whether the study's best has changed since it was.

    Args:
        study: The study.
        record: Its record.
        before: The evaluation on record.
        optuna_study: Its trials.
    """
    at, place = before.evaluations[-1].at, study.folder / EVALUATION
    if changed := best_since(before, optuna_study):
        log.warning(
            "%s (%s). The test split is not read again automatically: %s. "
            '`kedro run --pipelines evaluate --params "study.name=%s,evaluation.force=true"` evaluates the '
            "new best; both evaluations are then on record",
            changed,
            at,
            place,
            study.name,
        )
        return
    state = "nothing to do: the study is finished and evaluated"
    if not is_over(record, optuna_study):  # study.timeout ended the run, not the extended search
        state = f"{len(optuna_study.finished())} of {record.trials} trials are done; the study was evaluated"
    log.info(
        "%s (%s; trial %d is still its best), the test split is not read again: %s",
        state,
        at,
        before.best_trial,
        place,
    )


def refusal(study: StudyHandle, before: EvaluationRecord, optuna_study: OptunaStudy) -> RefusedError:
    """Return the error for a second evaluation that was asked for without evaluation.force.

    Args:
        study: The study.
        before: The evaluation on record.
        optuna_study: Its trials.
    """
    since = best_since(before, optuna_study) or "its best is still the one that was evaluated"
    return RefusedError(
        f"the study {study.name!r} was evaluated on test at {before.evaluations[-1].at}; {since}; "
        "a second look at the test split makes its figures worth less",
        where=str(study.folder / EVALUATION),
        remedy='to evaluate anyway: --params "evaluation.force=true"; both evaluations will be on record.',
    )


def unfinished(study: StudyHandle, done: int, trials: int, *, explicit: bool) -> NotEvaluated:
    """Say that a study is not over.

    Args:
        study: The study.
        done: Its trials that have ended.
        trials: Its trials in all.
        explicit: The evaluation itself was asked for.

    Returns:
        What the evaluation returns then.

    Raises:
        RefusedError: The evaluation itself was asked for.
    """
    message = f"the study {study.name!r} is not finished: {done} of {trials} trials are done"
    if explicit:
        raise RefusedError(message, remedy="run `kedro run --pipelines hpo` to its end first.")
    log.info("evaluation: %s; the test split is not read", message)
    return NotEvaluated(study_id=study.id, state="unfinished", trials_done=done)


def without_checkpoints(study: StudyHandle, *, explicit: bool) -> NotEvaluated:
    """Say that a study has no model to evaluate.

    Args:
        study: The study.
        explicit: The evaluation itself was asked for.

    Returns:
        What the evaluation returns then.

    Raises:
        RefusedError: The evaluation itself was asked for.
    """
    message = f"the study {study.name!r} ran with storage.checkpointing=false: no model to evaluate"
    if explicit:
        raise RefusedError(message, remedy="run a study with checkpoints under another study.name.")
    log.info("evaluation: %s", message)
    return NotEvaluated(study_id=study.id, state="no checkpoints")
