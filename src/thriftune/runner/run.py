"""The search: trials one at a time, each to its end, until the study is over.

A generator of checkpoints: whoever drives it saves them. All that a run opens is closed here, also when
a save fails or a signal ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from thriftune.runner.limits import describe_stop
from thriftune.runner.preparation import prepare
from thriftune.runner.progress import StudyProgress
from thriftune.runner.session import Session, open_session
from thriftune.runner.worker import Worker
from thriftune.study.layout import journals_of
from thriftune.tracking.records import trial_seconds

if TYPE_CHECKING:
    from thriftune.checkpoints.checkpoint import Checkpoint
    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus.store import Corpus
    from thriftune.study.handle import StudyHandle

log = logging.getLogger(__name__)


def run_search(
    parameters: Parameters, corpus: Corpus, study: StudyHandle, store: CheckpointStore
) -> Iterator[Checkpoint]:
    """Run the trials that are left of a study; where none is left, only tidy.

    Args:
        parameters: Those of the run, placed in a project (`Parameters.at`).
        corpus: The corpus to train on.
        study: The study; it is created where it is missing.
        store: Its checkpoints.

    Yields:
        Each checkpoint, to be saved in `store` before the next is asked for.
    """
    prepared = prepare(parameters, corpus, study, store)
    with open_session(prepared, study, store) as session:
        session.queue.check_failures()
        if not session.queue.is_over():
            with _progress_of(session) as progress:
                yield from Worker(session, progress).run()
            return
        store.trials.finish_all()  # a kill may have come between the last trial's end and its tidying
        record = session.queue.record
        if record.ended is not None:
            log.info("%s", describe_stop(record.ended, record.trials))


def _progress_of(session: Session) -> StudyProgress:
    """Return the progress that earlier processes have made."""
    taken = (trial_seconds(path) for path in journals_of(session.study.folder).values())
    best = session.queue.optuna.best()
    return StudyProgress(
        session.queue.record.trials,
        session.parameters.storage.max_total_size,
        [seconds for seconds in taken if seconds is not None],
        None if best is None else best.value,
        held_bytes=session.store.held_bytes(),
    )
