"""The study's parent run in MLflow, handed to kedro-mlflow by the hook."""

from __future__ import annotations

from pathlib import Path

from thriftune.config import Parameters
from thriftune.databases.location import artifact_root, mlflow_uri
from thriftune.tracking.mlflow_store import MlflowSink


def connect(parameters: Parameters, root: Path) -> MlflowSink:
    """A sink for the configured store."""
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
        self._parameters, self._root = parameters, root
        self._study_id, self._name = study_id, name
        self._sink: MlflowSink | None = None
        self._run_id = ""
        self.before: str | None = None
        """The run's status before it was opened; None where it was made."""

    def open(self) -> str:
        """The run's id; the run is found by its identity or made."""
        sink = connect(self._parameters, self._root)
        self.before = sink.parent_status(self._study_id)
        self._run_id = sink.parent_run(self._study_id, self._name)
        self._sink = sink
        return self._run_id

    def close(self, status: str) -> None:
        """FINISHED, FAILED or KILLED; the run is found by its identity where it was not opened here."""
        if self._sink is None:
            self.open()
        assert self._sink is not None
        self._sink.finish(self._run_id, status)
