"""The one test evaluation of a finished study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftune import runner

if TYPE_CHECKING:
    from pydantic import JsonValue

    from thriftune.checkpoints import CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus import CorpusStore
    from thriftune.study import StudyHandle


def evaluate_finished(
    checkpoints: CheckpointStore, corpora: CorpusStore, study: StudyHandle, settings: Parameters
) -> dict[str, JsonValue]:
    """Evaluate the study's best on test, once.

    Args:
        checkpoints: The study's checkpoints.
        corpora: The ingested corpora, among them the one that the study was run on.
        study: The study.
        settings: The parameters of this run.

    Returns:
        The evaluation as JSON. A study that was evaluated before is reported as it is; one that is not
        over has its state alone.
    """
    return runner.evaluate_study(settings, study, checkpoints, corpora, explicit=False).to_json()


def evaluate_on_request(
    checkpoints: CheckpointStore, corpora: CorpusStore, study: StudyHandle, settings: Parameters
) -> dict[str, JsonValue]:
    """Evaluate the study's best on test; a second time only with evaluation.force=true.

    Args:
        checkpoints: The study's checkpoints.
        corpora: The ingested corpora, among them the one that the study was run on.
        study: The study.
        settings: The parameters of this run.

    Returns:
        The evaluation as JSON.
    """
    return runner.evaluate_study(settings, study, checkpoints, corpora, explicit=True).to_json()
