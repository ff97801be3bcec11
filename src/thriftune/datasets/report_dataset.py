"""Reports with a preview in Kedro-Viz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview, PlotlyPreview
from pydantic import JsonValue

from thriftune.files import file_lock, read_json, write_json
from thriftune.reports.figures import scores


class JSONReportDataset(AbstractDataset[Any, Any]):
    """A JSON report, replaced atomically and only where it changed; previewed in Kedro-Viz.

    data_report:
      type: thriftune.datasets.report_dataset.JSONReportDataset
      filepath: data/08_reporting/data_report.json
    """

    def __init__(self, *, filepath: str, metadata: dict[str, JsonValue] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Any:
        """Return the report's value."""
        return read_json(self._filepath)

    def save(self, data: Any) -> None:
        """Replace the report where it differs.

        Args:
            data: What is written as JSON.
        """
        with file_lock(self._filepath):
            if not self._exists() or self.load() != data:
                write_json(self._filepath, data)

    def preview(self) -> JSONPreview:
        """Return what Kedro-Viz shows."""
        return JSONPreview(self._filepath.read_text(encoding="utf-8"))

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, JsonValue]:
        return {"filepath": str(self._filepath)}


class EvaluationDataset(JSONReportDataset):
    """The test evaluation; Kedro-Viz shows the scores of the criteria.

    evaluation:
      type: thriftune.datasets.report_dataset.EvaluationDataset
      filepath: data/08_reporting/evaluation.json
    """

    def preview(self) -> PlotlyPreview:
        """Return F1 of each criterion with its interval."""
        return PlotlyPreview(scores(self.load()))
