"""The one test evaluation of a finished study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus.store import CorpusStore
    from thriftune.study.handle import StudyHandle


def evaluate_finished(
    checkpoints: CheckpointStore, corpora: CorpusStore, study: StudyHandle, settings: Parameters
) -> dict[str, Any]:
    """Evaluate the study's best on test, once; an evaluated study is reported as it stands."""
    from thriftune.runner.test_evaluation import evaluate_study

    return evaluate_study(settings, study, checkpoints, corpora, express=False)


def evaluate_on_request(
    checkpoints: CheckpointStore, corpora: CorpusStore, study: StudyHandle, settings: Parameters
) -> dict[str, Any]:
    """As evaluate_finished, but a second evaluation needs evaluation.force=true."""
    from thriftune.runner.test_evaluation import evaluate_study

    return evaluate_study(settings, study, checkpoints, corpora, express=True)
