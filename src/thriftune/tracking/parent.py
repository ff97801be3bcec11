"""The study's parent run in MLflow, which a hook hands to kedro-mlflow."""

from __future__ import annotations

from thriftune.config import Parameters
from thriftune.databases.location import artifact_root, mlflow_uri
from thriftune.tracking.mlflow_store import MlflowSink


def connect(parameters: Parameters) -> MlflowSink:
    """Open the configured store.

    Args:
        parameters: Those of the study, placed in a project (`Parameters.at`).

    Returns:
        The open store.
    """
    tracking = parameters.tracking
    return MlflowSink(
        mlflow_uri(tracking),
        tracking.experiment,
        artifact_root(tracking),
        parameters.observe.redact,
        locks=tracking.folder,
    )


class ParentRun:
    """Opens and closes the parent run of one study."""

    def __init__(self, parameters: Parameters, study_id: str, name: str) -> None:
        """Remember which run it is; nothing is opened.

        Args:
            parameters: Those of the study, placed in a project (`Parameters.at`).
            study_id: The study's id, by which the run is found.
            name: The study's name, for a new run.
        """
        self._parameters, self._study_id, self._name = parameters, study_id, name
        self._sink: MlflowSink | None = None
        self._run_id = ""
        self.before: str | None = None
        """The run's status before it was opened; None if it was created."""

    def open(self) -> str:
        """Return the run's id; the run is found by its identity, or created."""
        sink = connect(self._parameters)
        self.before = sink.parent_status(self._study_id)
        self._run_id = sink.parent_run(self._study_id, self._name)
        self._sink = sink
        return self._run_id

    def close(self, status: str) -> None:
        """End the run; it is opened first if it was not.

        Args:
            status: FINISHED, FAILED or KILLED.
        """
        if self._sink is None:
            self.open()
        assert self._sink is not None
        self._sink.finish(self._run_id, status)
