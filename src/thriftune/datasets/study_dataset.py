"""The Optuna study as a catalog entry: what `hpo`, the commands and the notebook use."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import PlotlyPreview
from pydantic import JsonValue

from thriftune import reports
from thriftune.reports.figures import history
from thriftune.study import StudyHandle


class StudyDataset(AbstractDataset[None, Any]):
    """Loads a handle on one study: its folder and its Optuna record.

    study:
      type: thriftune.datasets.study_dataset.StudyDataset
      filepath: data/tracking
      models: data/06_models
      study: my-study
      parallel: null # true: several processes may work on it
      credentials: ${study_db:} # url: of Optuna's storage; null = SQLite in filepath
    """

    def __init__(
        self,
        *,
        filepath: str,
        models: str,
        study: str,
        parallel: bool | None = None,
        credentials: dict[str, str | None] | None = None,
        metadata: dict[str, JsonValue] | None = None,
    ) -> None:
        self._tracking, self._models, self._study = Path(filepath), Path(models), study
        self._parallel, self._url = parallel, (credentials or {}).get("url")
        self.metadata = metadata

    def load(self) -> StudyHandle:
        """Return the handle; nothing is created before the search starts."""
        return StudyHandle(self._study, self._models, self._tracking, self._url, self._parallel)

    def save(self, data: None) -> None:
        """Refuse: the search writes a study through the loaded handle.

        Args:
            data: Nothing.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("a study is written through the loaded handle")

    def preview(self) -> PlotlyPreview:
        """Return the search's history, for Kedro-Viz."""
        handle = self.load()
        if handle.record() is None:
            return PlotlyPreview({})
        found = reports.summarise(handle, with_importances=False)
        return PlotlyPreview(history(found["trials"], found["metric"]))

    def _describe(self) -> dict[str, JsonValue]:
        return {"filepath": str(self._tracking), "study": self._study}
