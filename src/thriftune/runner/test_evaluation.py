"""The one test evaluation of a study. The only caller of the test split."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from thriftune import files
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import Parameters
from thriftune.corpus.store import CorpusStore
from thriftune.corpus.tokens import TokenisedStore
from thriftune.databases.health import unavailable_reason
from thriftune.databases.location import mlflow_uri
from thriftune.errors import RefusedError, StudyError
from thriftune.evaluation.record import EvaluationRecord
from thriftune.evaluation.report import EVALUATION, PAGE, read_evaluation
from thriftune.forecast.corpus_size import CorpusSize
from thriftune.forecast.estimate import evaluation_bytes
from thriftune.json_records import JsonRecord, left_out_if_none
from thriftune.reports.content import write_page
from thriftune.reports.page import headline
from thriftune.runner.best_checkpoint import best_since
from thriftune.runner.evaluation_record import evaluate
from thriftune.runner.limits import is_over
from thriftune.runner.preflight import require_mounted
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.restore import restore_missing
from thriftune.study.file_locks import TRIALS, guard_of, running_elsewhere
from thriftune.study.handle import StudyHandle
from thriftune.study.record import StudyRecord, require_record
from thriftune.tracking.delivery import deliver_evaluation, has_evaluation
from thriftune.tracking.parent import connect
from thriftune.training.interrupt import stop_on_signal

log = logging.getLogger(__name__)


class NotEvaluated(JsonRecord):
    """Why a study has no test evaluation yet."""

    study_id: str
    state: Literal["unfinished", "no checkpoints"]
    trials_done: int | None = left_out_if_none()


EVALUATING = "evaluation"
"""What one worker does; those that come later find it done."""


def evaluate_study(
    settings: Parameters,
    study: StudyHandle,
    store: CheckpointStore,
    corpora: CorpusStore,
    *,
    explicit: bool,
) -> EvaluationRecord | NotEvaluated:
    """Evaluate the study's best on test, once, and write evaluation.json and report.html.

    An evaluated study is reported as it stands, unless `evaluation.force` is set.

    Args:
        settings: The parameters of this run; the study's own are on its record.
        study: The study.
        store: Its checkpoints.
        corpora: Where the corpus of the study is.
        explicit: The evaluation itself was asked for, not the search before it.

    Returns:
        The evaluation; why there is none, where it was not asked for explicitly.

    Raises:
        StudyError: There is no study; it is not over, has no checkpoints, or was evaluated, and the
            evaluation was asked for explicitly.
    """
    require_mounted(study)
    if study.record() is None:
        raise StudyError(
            f"there is no study {study.name!r}",
            where=str(study.folder),
            remedy="run `kedro run --pipelines hpo` first, or give study.name.",
        )
    with (
        stop_on_signal() as flag,
        study.ownership(waiting=flag.check) as ownership,
        ownership.alone(EVALUATING),
        store.owned(
            ownership.check,
            guard_of(ownership),
            TokenisedStore(Path(settings.corpus.cache)).dispose,
        ),
    ):
        record = require_record(study.folder)
        parameters = record.parameters()
        optuna_study = OptunaStudy.of(study, parameters, flag.check)
        with ownership.alone(TRIALS):
            restore_missing(study, optuna_study, parameters)
        before = read_evaluation(study.folder)
        force = settings.evaluation.force
        if before is not None and not force:
            if explicit:
                raise _refusal(study, before, optuna_study)
            _say_evaluated(study, record, before, optuna_study)
            if not (study.folder / PAGE).exists():
                write_page(study, store, optuna_study, record, corpora, before, settings.evaluation.examples)
            _deliver(settings, study)
            return before
        if not is_over(record, optuna_study):
            return _unfinished(study, record, optuna_study, explicit)
        if not parameters.storage.checkpointing and store.best() is None:
            return _without_checkpoints(study, explicit)
        files.remove_file(study.folder / PAGE)  # a page never tells of an older evaluation
        store.trials.recover_all(running_elsewhere(store, ownership))
        corpus = corpora.open(record.data.fingerprint)
        corpus.check("test", "validation")
        store.require_room(evaluation_bytes(CorpusSize.of(corpus), parameters))
        evaluation = evaluate(parameters, study, optuna_study, store, corpus, record, before, flag)
        write_page(study, store, optuna_study, record, corpora, evaluation, settings.evaluation.examples)
        _deliver(settings, study)
    _say_answer(study, evaluation)
    return evaluation


def _say_answer(study: StudyHandle, evaluation: EvaluationRecord) -> None:
    """The run's last lines: the figures, and what to open."""
    figures = []
    for item in headline(evaluation):
        ends = item.interval
        told = "" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})"
        figures.append(f"{item.name} {item.value:.3f}{told}")
    log.info("test, %d posts: %s", evaluation.data.counts["test"], "; ".join(figures))
    log.info("evaluation: %s", study.folder / PAGE)
    log.info("every run with its curves: make mlflow; every trial: thriftune study show %s", study.name)


def _deliver(settings: Parameters, study: StudyHandle) -> None:
    """Copy the evaluation to MLflow; where that fails, the next run or `tracking flush` does it."""
    root = Path.cwd()
    uri = mlflow_uri(settings.tracking, root)
    found = unavailable_reason(uri)
    try:
        if found is None:
            deliver_evaluation(study, connect(settings, root), uri)
    except Exception as error:
        # Whatever MLflow does wrong, the study's own records are complete.
        found = str(error).partition("\n")[0]
    if found is not None and not has_evaluation(study, uri):
        log.warning("MLflow has not got the test evaluation (%s); `thriftune tracking flush` sends it", found)


def _say_evaluated(
    study: StudyHandle, record: StudyRecord, before: EvaluationRecord, optuna_study: OptunaStudy
) -> None:
    at, place = before.evaluations[-1].at, study.folder / EVALUATION
    if changed := best_since(before, optuna_study):
        log.warning(
            "%s (%s). Test is not read again by itself: %s. "
            '`kedro run --pipelines evaluate --params "study.name=%s,evaluation.force=true"` evaluates the '
            "new best; both are on record then",
            changed,
            at,
            place,
            study.name,
        )
        return
    state = "nothing to do: the study is over and evaluated"
    if not is_over(record, optuna_study):  # study.timeout ended the run, not the extended search
        state = f"{len(optuna_study.finished())} of {record.trials} trials are done; the study was evaluated"
    log.info(
        "%s (%s; trial %d is still its best), test is not read again: %s",
        state,
        at,
        before.best_trial,
        place,
    )


def _refusal(study: StudyHandle, before: EvaluationRecord, optuna_study: OptunaStudy) -> RefusedError:
    since = best_since(before, optuna_study) or "its best is still the one that was evaluated"
    return RefusedError(
        f"the study {study.name!r} was evaluated on test at {before.evaluations[-1].at}; {since}; "
        "a second look at the test split makes its figures worth less",
        where=str(study.folder / "evaluation.json"),
        remedy='to do it all the same: --params "evaluation.force=true"; both will be on record.',
    )


def _unfinished(
    study: StudyHandle, record: StudyRecord, optuna_study: OptunaStudy, explicit: bool
) -> NotEvaluated:
    done = len(optuna_study.finished())
    message = f"the study {study.name!r} is not over: {done} of {record.trials} trials are done"
    if explicit:
        raise RefusedError(message, remedy="run `kedro run --pipelines hpo` to its end first.")
    log.info("evaluation: %s; test is not read", message)
    return NotEvaluated(study_id=study.id, state="unfinished", trials_done=done)


def _without_checkpoints(study: StudyHandle, explicit: bool) -> NotEvaluated:
    message = f"the study {study.name!r} ran with storage.checkpointing=false: no model for test"
    if explicit:
        raise RefusedError(message, remedy="run a study with checkpoints under another study.name.")
    log.info("evaluation: %s", message)
    return NotEvaluated(study_id=study.id, state="no checkpoints")
