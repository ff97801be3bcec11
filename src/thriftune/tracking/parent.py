"""The study's parent run in MLflow, which a hook hands to kedro-mlflow."""

from __future__ import annotations

from pathlib import Path

from thriftune.config import Parameters
from thriftune.databases.location import artifact_root, mlflow_uri
from thriftune.tracking.mlflow_store import MlflowSink


def connect(parameters: Parameters, root: Path) -> MlflowSink:
    """Open the configured store.

    Args:
        parameters: Those of the study.
        root: The project's folder, where relative paths start.

    Returns:
        The open store.
    """
    tracking = parameters.tracking
    return MlflowSink(
        mlflow_uri(tracking, root),
        tracking.experiment,
        artifact_root(tracking, root),
        parameters.observe.redact,
        locks=root / tracking.root,
    )


class ParentRun:
    """Opens and closes the parent run of one study."""

    def __init__(self, parameters: Parameters, root: Path, study_id: str, name: str) -> None:
        """Remember which run it is; nothing is opened.

        Args:
            parameters: Those of the study.
            root: The project's folder, where relative paths start.
            study_id: The study's id, by which the run is found.
            name: The study's name, for a new run.
        """
        self._parameters, self._root = parameters, root
        self._study_id, self._name = study_id, name
        self._sink: MlflowSink | None = None
        self._run_id = ""
        self.before: str | None = None
        """The run's status before it was opened; None if it was created."""

    def open(self) -> str:
        """Return the run's id; the run is found by its identity, or created."""
        sink = connect(self._parameters, self._root)
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
