"""What the test evaluation of a study works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from thriftune.config import override
from thriftune.search.trials import trial_row
from thriftune.study.trials import TrialRef

if TYPE_CHECKING:
    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.config import Parameters
    from thriftune.corpus.store import Corpus
    from thriftune.search.optuna_study import OptunaStudy
    from thriftune.study.handle import StudyHandle
    from thriftune.study.record import StudyRecord
    from thriftune.training.interrupt import StopFlag


@dataclass(frozen=True)
class EvaluationContext:
    """What the test evaluation of a study works with."""

    parameters: Parameters
    """As the study's record has them."""
    study: StudyHandle
    record: StudyRecord
    optuna: OptunaStudy
    store: CheckpointStore
    corpus: Corpus
    flag: StopFlag

    def trial(self, number: int) -> TrialRef:
        """Return a trial with its own configuration.

        Args:
            number: The trial's.
        """
        overrides = trial_row(self.optuna.trials()[number]).overrides
        return TrialRef(number, override(self.parameters, overrides))
