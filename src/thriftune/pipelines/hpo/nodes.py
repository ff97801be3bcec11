"""The search over one study, and the one test evaluation that ends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thriftune.checkpoints.checkpoint import Checkpoint
    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus.store import Corpus
    from thriftune.study.handle import StudyHandle


def search(
    corpus: Corpus, settings: Parameters, study: StudyHandle, checkpoint_store: CheckpointStore
) -> Iterator[Checkpoint]:
    """Run the trials that are left; every checkpoint streams through the catalog's save."""
    from thriftune.runner.run import run_search

    yield from run_search(settings, corpus, study, checkpoint_store)
