"""The search over one study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from thriftune import runner

if TYPE_CHECKING:
    from thriftune.checkpoints import Checkpoint, CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus import Corpus
    from thriftune.study import StudyHandle


def search(
    corpus: Corpus, settings: Parameters, study: StudyHandle, checkpoint_store: CheckpointStore
) -> Iterator[Checkpoint]:
    """Run the trials that are left.

    Args:
        corpus: The corpus to train and validate on.
        settings: The parameters of this run.
        study: The study.
        checkpoint_store: The study's checkpoints.

    Yields:
        Each checkpoint, which the catalog saves before training continues with the next.
    """
    yield from runner.run_search(settings, corpus, study, checkpoint_store)
