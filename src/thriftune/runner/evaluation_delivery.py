"""Copies a study's test evaluation to MLflow once it is on record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from thriftune.databases.health import unavailable_reason
from thriftune.databases.location import mlflow_uri
from thriftune.errors import first_line
from thriftune.tracking.delivery import deliver_evaluation, has_evaluation
from thriftune.tracking.parent import connect

if TYPE_CHECKING:
    from thriftune.config import Parameters
    from thriftune.study.handle import StudyHandle

log = logging.getLogger(__name__)


def deliver(settings: Parameters, study: StudyHandle) -> None:
    """Copy the evaluation; where that fails, the next run or `tracking flush` does it.

    Args:
        settings: Those of the run; relative paths start at their project's folder.
        study: The study.
    """
    uri = mlflow_uri(settings.tracking)
    found = unavailable_reason(uri)
    try:
        if found is None:
            deliver_evaluation(study, connect(settings), uri)
    except Exception as error:
        # Whatever MLflow does wrong, the study's own records are complete.
        found = first_line(error)
    if found is not None and not has_evaluation(study, uri):
        log.warning(
            "MLflow does not have the test evaluation yet (%s); `thriftune tracking flush` sends it", found
        )
