"""One configuration as a study of one trial, named `<study.name>-train`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from thriftune import runner
from thriftune import study as studies

if TYPE_CHECKING:
    from thriftune.checkpoints import Checkpoint, CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus import Corpus
    from thriftune.study import StudyHandle


def train_once(
    corpus: Corpus, settings: Parameters, study: StudyHandle, checkpoint_store: CheckpointStore
) -> Iterator[Checkpoint]:
    """Train and validate the configuration as written; the test split stays unread.

    Args:
        corpus: The corpus to train and validate on.
        settings: The parameters of this run.
        study: The study of one trial.
        checkpoint_store: The study's checkpoints.

    Yields:
        Each checkpoint, which the catalog saves before training continues with the next.
    """
    yield from runner.run_search(studies.as_single_trial(settings), corpus, study, checkpoint_store)
