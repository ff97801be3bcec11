"""The one evaluation of a study on its test split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftune.corpus.tokens import TokenisedStore
from thriftune.errors import StudyError
from thriftune.evaluation.report import read_evaluation
from thriftune.reports.content import StudyPage
from thriftune.runner import evaluation_messages as messages
from thriftune.runner.evaluate_best import evaluate
from thriftune.runner.evaluation_context import EvaluationContext
from thriftune.runner.evaluation_delivery import deliver
from thriftune.runner.limits import is_over
from thriftune.runner.preflight import require_mounted
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.restore import restore_missing
from thriftune.study.file_locks import TRIALS, running_elsewhere, storage_section
from thriftune.study.record import require_record
from thriftune.training.interrupt import stop_on_signal

if TYPE_CHECKING:
    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus.store import CorpusStore
    from thriftune.evaluation.record import EvaluationRecord
    from thriftune.study.file_locks import Ownership
    from thriftune.study.handle import StudyHandle
    from thriftune.training.interrupt import StopFlag

EVALUATING = "evaluation"
"""What one worker does at a time; those that come later find it done."""


def evaluate_study(
    settings: Parameters,
    study: StudyHandle,
    store: CheckpointStore,
    corpora: CorpusStore,
    *,
    explicit: bool,
) -> EvaluationRecord | messages.NotEvaluated:
    """Evaluate the study's best on test, once, and write evaluation.json and report.html.

    An evaluated study is reported as it is, unless `evaluation.force` is set.

    Args:
        settings: The parameters of this run; the study's own are on its record.
        study: The study.
        store: Its checkpoints.
        corpora: Where the corpus of the study is.
        explicit: The evaluation itself was asked for, not the search before it.

    Returns:
        The evaluation; why there is none, where it was not asked for explicitly.

    Raises:
        StudyError: There is no study; it is not finished, has no checkpoints, or was evaluated, and the
            evaluation was asked for explicitly.
    """
    require_mounted(study)
    if study.record() is None:
        raise StudyError(
            f"there is no study {study.name!r}",
            where=str(study.folder),
            remedy="run `kedro run --pipelines hpo` first, or give study.name.",
        )
    tokens = TokenisedStore(settings.corpus.cache_folder)
    evaluator = _Evaluator(settings, study, store, corpora)
    with (
        stop_on_signal() as flag,
        study.ownership(waiting=flag.check) as ownership,
        ownership.section(EVALUATING),
        store.owned(ownership.check, storage_section(ownership), tokens.dispose),
    ):
        return evaluator.run(ownership, flag, explicit=explicit)


class _Evaluator:
    """The evaluation of one study."""

    def __init__(
        self, settings: Parameters, study: StudyHandle, store: CheckpointStore, corpora: CorpusStore
    ) -> None:
        self._settings, self._study, self._store, self._corpora = settings, study, store, corpora

    def run(
        self, ownership: Ownership, flag: StopFlag, *, explicit: bool
    ) -> EvaluationRecord | messages.NotEvaluated:
        study, store = self._study, self._store
        record = require_record(study.folder)
        parameters = record.parameters(self._settings.project_folder)
        optuna_study = OptunaStudy.open(study, parameters, flag.check)
        with ownership.section(TRIALS):
            restore_missing(study, optuna_study, parameters)
        examples = self._settings.evaluation.examples
        page = StudyPage(study, store, optuna_study, record, self._corpora, examples)
        before = read_evaluation(study.folder)
        if before is not None and not self._settings.evaluation.force:
            if explicit:
                raise messages.refusal(study, before, optuna_study)
            messages.say_evaluated(study, record, before, optuna_study)
            if not page.path.exists():
                page.write(before)
            deliver(self._settings, study)
            return before
        if not is_over(record, optuna_study):
            done = len(optuna_study.finished())
            return messages.unfinished(study, done, record.trials, explicit=explicit)
        if not parameters.storage.checkpointing and store.best() is None:
            return messages.without_checkpoints(study, explicit=explicit)
        page.remove()
        store.trials.recover_all(running_elsewhere(store, ownership))
        corpus = self._corpora.open(record.data.fingerprint)
        context = EvaluationContext(parameters, study, record, optuna_study, store, corpus, flag)
        evaluation = evaluate(context, before)
        page.write(evaluation)
        deliver(self._settings, study)
        messages.say_figures(study, evaluation)
        return evaluation
