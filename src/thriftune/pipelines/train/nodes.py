"""One configuration as a study of one trial, named `<study.name>-train`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thriftune.checkpoints.checkpoint import Checkpoint
    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus.store import Corpus
    from thriftune.study.handle import StudyHandle


def train_once(
    corpus: Corpus, settings: Parameters, study: StudyHandle, checkpoint_store: CheckpointStore
) -> Iterator[Checkpoint]:
    """Train and validate the configuration as written; the test split stays unread."""
    from thriftune.runner.run import run_search
    from thriftune.study.handle import as_single_trial

    yield from run_search(as_single_trial(settings), corpus, study, checkpoint_store)
